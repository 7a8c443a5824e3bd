# The shape that all layers share: LAYER/include (public), LAYER/src (private), tests/LAYER.

add_custom_target(godwit_programs)
add_custom_target(godwit_benches)

# godwit_layer(NAME [DEPENDS target...] [PRIVATE_DEPENDS target...])
#
# Makes the static library godwit_NAME (alias godwit::NAME) of all proto/*.proto and all src/**.cc
# but those named main.cc, which are the entry points of programs. A layer that has no source yet is
# an interface library, so that the layers above it configure.
function(godwit_layer name)
  cmake_parse_arguments(arg "" "" "DEPENDS;PRIVATE_DEPENDS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/src/*.cc)
  list(FILTER sources EXCLUDE REGEX "/main\\.cc$")
  file(GLOB protos CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/proto/*.proto)
  set(target godwit_${name})
  if(sources OR protos)
    add_library(${target} STATIC ${sources})
    set(public PUBLIC)
    target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/src)
    target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:godwit_warnings>
                                            ${arg_PRIVATE_DEPENDS})
  else()
    message(STATUS "godwit: layer ${name} has no source yet")
    add_library(${target} INTERFACE)
    set(public INTERFACE)
    target_link_libraries(${target} INTERFACE ${arg_PRIVATE_DEPENDS})
  endif()
  add_library(godwit::${name} ALIAS ${target})
  target_compile_features(${target} ${public} cxx_std_20)
  target_include_directories(${target} ${public}
    $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${target} ${public} ${arg_DEPENDS})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name}
                                             GODWIT_PRIVATE_DEPENDS "${arg_PRIVATE_DEPENDS}")
  godwit_protobuf(${target} ${protos})
endfunction()

# godwit_protobuf(TARGET file.proto...)
#
# Adds the code that protoc makes of the files to a layer's library (godwit_layer does so for those
# in proto/). NAME.proto is included as "godwit/LAYER/NAME.pb.h"; the protobuf runtime knows it under
# that name too, so equal file names in two layers do not collide.
function(godwit_protobuf target)
  if(NOT ARGN)
    return()
  endif()
  string(REGEX REPLACE "^godwit_" "" layer ${target})
  set(root ${CMAKE_CURRENT_BINARY_DIR}/generated)
  set(out ${root}/godwit/${layer})
  file(MAKE_DIRECTORY ${out})
  foreach(file IN LISTS ARGN)
    get_filename_component(file ${file} ABSOLUTE)
    get_filename_component(dir ${file} DIRECTORY)
    get_filename_component(stem ${file} NAME_WE)
    get_property(known GLOBAL PROPERTY GODWIT_PROTOBUF_${file})
    if(known)
      continue()
    endif()
    set_property(GLOBAL PROPERTY GODWIT_PROTOBUF_${file} TRUE)
    add_custom_command(
      OUTPUT ${out}/${stem}.pb.cc ${out}/${stem}.pb.h
      COMMAND protobuf::protoc --proto_path=godwit/${layer}=${dir} --cpp_out=${root} ${file}
      DEPENDS ${file} protobuf::protoc
      COMMENT "protoc godwit/${layer}/${stem}.proto"
      VERBATIM)
    # Made by a generator, so its warnings are not ours to mend.
    set_source_files_properties(${out}/${stem}.pb.cc PROPERTIES COMPILE_OPTIONS -w)
    target_sources(${target} PRIVATE ${out}/${stem}.pb.cc ${out}/${stem}.pb.h)
  endforeach()
  target_include_directories(${target} SYSTEM PUBLIC $<BUILD_INTERFACE:${root}>)
endfunction()

# godwit_program(NAME SOURCES file... [LIBS target...])
#
# A program of this project; it lands in BUILD/bin. Those of bench/ are built by the target
# godwit_benches too, those of node/ and examples/ by godwit_programs.
function(godwit_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE godwit_warnings ${arg_LIBS})
  file(RELATIVE_PATH folder ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  if(folder MATCHES "^bench")
    add_dependencies(godwit_benches ${name})
  elseif(folder MATCHES "^(node|examples)")
    add_dependencies(godwit_programs ${name})
  endif()
endfunction()
