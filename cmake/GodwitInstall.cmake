# What `cmake --install` lays out.
#
# For programs that use Godwit: the libraries of fabric/, endpoints/ and migrate/, their public headers, and
# what find_package(godwit) and pkg-config need. For nodes: godwitd, godwit and the systemd unit.
# coord/ and node/ are inside the daemon and install no header.
include(CMakePackageConfigHelpers)

set(installed_layers fabric endpoints migrate)
set(installed_targets)
foreach(layer IN LISTS installed_layers)
  get_target_property(type godwit_${layer} TYPE)
  if(type STREQUAL "STATIC_LIBRARY")
    list(APPEND installed_targets godwit_${layer})
  endif()
endforeach()

foreach(program godwitd godwit)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT node)
  endif()
endforeach()
if(EXISTS ${PROJECT_SOURCE_DIR}/node/godwitd.service.in)
  # The unit names the daemon by its full path, which only the installation knows.
  configure_file(${PROJECT_SOURCE_DIR}/node/godwitd.service.in
                 ${PROJECT_BINARY_DIR}/godwitd.service @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/godwitd.service DESTINATION lib/systemd/system
          COMPONENT node)
elseif(EXISTS ${PROJECT_SOURCE_DIR}/node/godwitd.service)
  install(FILES ${PROJECT_SOURCE_DIR}/node/godwitd.service DESTINATION lib/systemd/system
          COMPONENT node)
endif()

list(LENGTH installed_targets count)
list(LENGTH installed_layers expected)
if(NOT count EQUAL expected)
  message(STATUS "godwit: not all of ${installed_layers} have sources; the library is not installed")
  return()
endif()

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/godwit)
install(TARGETS ${installed_targets} EXPORT godwit
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT devel)
foreach(layer IN LISTS installed_layers)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${layer}/include/ TYPE INCLUDE COMPONENT devel
          FILES_MATCHING PATTERN "*.h")
endforeach()
install(EXPORT godwit NAMESPACE godwit:: DESTINATION ${package_dir} COMPONENT devel
        FILE godwit-targets.cmake)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/godwit-config.cmake.in
                              ${PROJECT_BINARY_DIR}/godwit-config.cmake
                              INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may change the API.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/godwit-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/godwit-config.cmake
              ${PROJECT_BINARY_DIR}/godwit-config-version.cmake
        DESTINATION ${package_dir} COMPONENT devel)

# The libraries are static, so a user of pkg-config links what they need as well.
set(GODWIT_PC_REQUIRES "libsodium, protobuf, libxxhash")
if(GODWIT_HAVE_UCX)
  string(APPEND GODWIT_PC_REQUIRES ", ucx")
endif()
if(GODWIT_HAVE_VERBS)
  string(APPEND GODWIT_PC_REQUIRES ", librdmacm, libibverbs")
endif()
# The way from the file to its prefix, so that the tree may be installed or moved anywhere.
file(RELATIVE_PATH GODWIT_PC_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(${PROJECT_SOURCE_DIR}/cmake/godwit.pc.in ${PROJECT_BINARY_DIR}/godwit.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/godwit.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
        COMPONENT devel)
