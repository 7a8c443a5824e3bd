# How tests are made and found by ctest.
#
# The name of a test's suite (or of its instantiation) chooses its label:
#   unit    all others                  two at a time
#   real    the name contains `Real`    needs something outside, as a ZooKeeper server; one at a time
#   heavy   the name contains `Heavy`   minutes of one core; the release preset alone, one at a time

if(GODWIT_FUZZ)
  add_custom_target(godwit_fuzzers)
endif()

# What the sanitizers are told, and UCX under them, stands with the test presets (CMakePresets.json):
# UCX patches munmap and the like as soon as it is loaded, also where the thread sanitizer itself
# calls them or the C library does at the end of a thread, and then crashes; its signal handlers hide
# reports. A test started by hand needs the same environment.

# A sanitizer slows a test several times.
if(GODWIT_SANITIZE)
  set(GODWIT_TIMEOUT_FACTOR 4)
else()
  set(GODWIT_TIMEOUT_FACTOR 1)
endif()
math(EXPR GODWIT_TIMEOUT_UNIT "60 * ${GODWIT_TIMEOUT_FACTOR}")
math(EXPR GODWIT_TIMEOUT_REAL "180 * ${GODWIT_TIMEOUT_FACTOR}")
set(GODWIT_TIMEOUT_HEAVY 1800)

# godwit_discover_tests(TARGET): adds each test of a GoogleTest executable to ctest. One named
# DISABLED_Child... is the body of a child process that another test starts.
function(godwit_discover_tests target)
  gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 NO_PRETTY_VALUES
    TEST_PREFIX ${target}: TEST_FILTER "-*Real*:*Heavy*:*.DISABLED_Child*"
    PROPERTIES LABELS unit TIMEOUT ${GODWIT_TIMEOUT_UNIT})
  gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 NO_PRETTY_VALUES
    TEST_PREFIX ${target}: TEST_FILTER "*Real*-*Heavy*:*.DISABLED_Child*"
    PROPERTIES LABELS real TIMEOUT ${GODWIT_TIMEOUT_REAL} RUN_SERIAL TRUE)
  gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 NO_PRETTY_VALUES
    TEST_PREFIX ${target}: TEST_FILTER "*Heavy*-*.DISABLED_Child*"
    PROPERTIES LABELS heavy TIMEOUT ${GODWIT_TIMEOUT_HEAVY} RUN_SERIAL TRUE)
endfunction()

# godwit_layer_tests(NAME [LIBS target...])
#
# Makes godwit_NAME_tests of all tests/NAME/**.cc: the *_test.cc and their helpers. A subfolder with
# a CMakeLists.txt of its own is left to it.
function(godwit_layer_tests name)
  if(GODWIT_FUZZ)
    return()  # The fuzz preset tests nothing but the fuzz targets.
  endif()
  cmake_parse_arguments(arg "" "" "LIBS" ${ARGN})
  set(dir ${PROJECT_SOURCE_DIR}/tests/${name})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${dir}/*.cc)
  file(GLOB_RECURSE own_projects CONFIGURE_DEPENDS ${dir}/*/CMakeLists.txt)
  foreach(project IN LISTS own_projects)
    get_filename_component(project_dir ${project} DIRECTORY)
    if(NOT project_dir STREQUAL dir)
      list(FILTER sources EXCLUDE REGEX "^${project_dir}/")
    endif()
  endforeach()
  if(NOT sources)
    message(STATUS "godwit: layer ${name} has no test yet")
    return()
  endif()
  set(target godwit_${name}_tests)
  add_executable(${target} ${sources})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests
                                               ${PROJECT_SOURCE_DIR}/${name}/src)
  # A layer's tests see its private headers, so they need what those include.
  get_target_property(private_depends godwit_${name} GODWIT_PRIVATE_DEPENDS)
  target_link_libraries(${target} PRIVATE godwit_warnings godwit::${name} ${private_depends}
                                          godwit_test_support GTest::gmock_main GTest::gmock GTest::gtest
                                          ${arg_LIBS})
  godwit_discover_tests(${target})
endfunction()

# godwit_fuzz_target(NAME SOURCES file... LIBS target... [CORPUS folder])
#
# A libFuzzer target, fuzz_NAME. In the fuzz preset it is a fuzzer, and a test runs it briefly. In
# the others the same file is linked with a small main that feeds it the corpus, seeded mutations of
# it and random bytes, as a unit test that every compiler can build.
function(godwit_fuzz_target name)
  cmake_parse_arguments(arg "" "CORPUS" "SOURCES;LIBS" ${ARGN})
  set(target fuzz_${name})
  add_executable(${target} ${arg_SOURCES})
  target_link_libraries(${target} PRIVATE godwit_warnings ${arg_LIBS})
  set(corpus)
  if(arg_CORPUS)
    get_filename_component(corpus ${arg_CORPUS} ABSOLUTE)
  endif()
  if(GODWIT_FUZZ)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    add_dependencies(godwit_fuzzers ${target})
    # What the fuzzer learns goes to the first folder; the corpus of the tree is only read.
    set(learned ${CMAKE_BINARY_DIR}/corpus/${name})
    file(MAKE_DIRECTORY ${learned} ${CMAKE_BINARY_DIR}/findings)
    add_test(NAME ${target}
             COMMAND ${target} -max_total_time=10 -timeout=10 -rss_limit_mb=1024
                     -artifact_prefix=${CMAKE_BINARY_DIR}/findings/${name}- ${learned} ${corpus})
    set_tests_properties(${target} PROPERTIES LABELS fuzz TIMEOUT 120)
  else()
    target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests/fuzz/replay_main.cc)
    add_test(NAME ${target} COMMAND ${target} ${corpus})
    set_tests_properties(${target} PROPERTIES LABELS unit TIMEOUT ${GODWIT_TIMEOUT_UNIT})
  endif()
endfunction()
