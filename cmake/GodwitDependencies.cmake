# Finds the libraries that the layers stand on. `packages.txt` lists the packages that bring them.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)
find_package(spdlog REQUIRED)
find_package(tl-expected REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(SQLite3 REQUIRED)
pkg_check_modules(sodium REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
# No CMake package of toml++ is relied upon: old ones want the compiled library, which not every
# distribution ships; the headers alone do.
pkg_check_modules(tomlplusplus REQUIRED IMPORTED_TARGET tomlplusplus)
if(GODWIT_TESTS)
  find_package(GTest REQUIRED)
endif()
find_package(benchmark QUIET)

# The ZooKeeper C client ships neither a CMake package nor a pkg-config file.
find_path(ZOOKEEPER_INCLUDE_DIR zookeeper/zookeeper.h REQUIRED)
find_library(ZOOKEEPER_LIBRARY zookeeper_mt REQUIRED)
add_library(godwit_zookeeper_client INTERFACE)
add_library(godwit::zookeeper_client ALIAS godwit_zookeeper_client)
target_include_directories(godwit_zookeeper_client SYSTEM INTERFACE
                           $<BUILD_INTERFACE:${ZOOKEEPER_INCLUDE_DIR}>)
# THREADED selects the client's multi-threaded interface in its header.
target_compile_definitions(godwit_zookeeper_client INTERFACE THREADED)
target_link_libraries(godwit_zookeeper_client INTERFACE ${ZOOKEEPER_LIBRARY} Threads::Threads)

set(GODWIT_HAVE_UCX FALSE)
if(NOT GODWIT_UCX STREQUAL "OFF")
  if(GODWIT_UCX STREQUAL "ON")
    pkg_check_modules(ucx REQUIRED IMPORTED_TARGET ucx)
  else()
    pkg_check_modules(ucx QUIET IMPORTED_TARGET ucx)
  endif()
  if(ucx_FOUND)
    set(GODWIT_HAVE_UCX TRUE)
    # For the sources and the tests of the ucx transport alike: both are empty without it.
    target_compile_definitions(PkgConfig::ucx INTERFACE GODWIT_HAVE_UCX=1)
  else()
    message(STATUS "godwit: no ucx found by pkg-config; the ucx transport is left out")
  endif()
endif()
