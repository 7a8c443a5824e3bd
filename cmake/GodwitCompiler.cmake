# How everything of this project is compiled: language level, warnings, sanitizers, ccache.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# One place for all programs: scripts and tests find them as BUILD/bin/NAME.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
endif()

find_program(GODWIT_CCACHE ccache)
if(GODWIT_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${GODWIT_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${GODWIT_CCACHE})
endif()

# What only this project's own targets get; a consumer of the installed library sees none of it.
add_library(godwit_warnings INTERFACE)
target_compile_options(godwit_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow
                                                 -Wnon-virtual-dtor)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  if(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # False alarms about std::string's operator+ when it is inlined (GCC bug 105651).
    target_compile_options(godwit_warnings INTERFACE -Wno-restrict)
  endif()
  if(GODWIT_SANITIZE)
    # The instrumentation hides initializations from this one, as GCC's manual says.
    target_compile_options(godwit_warnings INTERFACE -Wno-maybe-uninitialized)
  endif()
endif()
# The compilers that the project is held to build it without a warning. A newer one may warn of more,
# which should be read but should stop nobody from building.
set(first_unknown_GNU 13)
set(first_unknown_Clang 15)
if(GODWIT_WERROR AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS "${first_unknown_${CMAKE_CXX_COMPILER_ID}}")
  target_compile_options(godwit_warnings INTERFACE -Werror)
endif()

# For the layers that a message passes. The generic tuning of GCC 12 for x86-64 clears every Result
# of 88 bytes with `rep stos`, some 30 cycles; a tuning changes no instruction set.
add_library(godwit_hot_path INTERFACE)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(godwit_hot_path INTERFACE -mtune=skylake)
endif()

if(GODWIT_SANITIZE STREQUAL "address")
  # Undefined behaviour aborts as an address error does: a test must not pass with a printed finding.
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    # What it puts before a function, clang 14 cannot put before a coroutine.
    add_compile_options(-fno-sanitize=function)
  endif()
elseif(GODWIT_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
  # g++ warns that its thread sanitizer ignores std::atomic_thread_fence; the code that uses one
  # says how it is covered.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-error=tsan)
  endif()
elseif(GODWIT_SANITIZE)
  message(FATAL_ERROR "GODWIT_SANITIZE is '${GODWIT_SANITIZE}': use address or thread")
endif()

if(GODWIT_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "GODWIT_FUZZ needs clang: configure with --preset fuzz")
  endif()
  # Instrument everything; only the fuzz targets link libFuzzer's main.
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
