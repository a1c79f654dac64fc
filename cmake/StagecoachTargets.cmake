# Compile options of every target, and stagecoach_library(): one static library per floor.

# What machine code is for. For processors with AVX-512, GCC 12.2 makes a broadcast of the first 8 bytes
# of some constants of 32 bytes whose last 8 are 0: tests/core/compiler_test.cpp shows it. Copying in
# pieces of 16 bytes avoids it.
set(STAGECOACH_MACHINE)
if(STAGECOACH_ARCH)
  set(STAGECOACH_MACHINE -march=${STAGECOACH_ARCH})
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 12 AND
   CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  list(APPEND STAGECOACH_MACHINE -mmove-max=128 -mstore-max=128)
endif()

# Clang cannot vectorise what a sanitizer instruments, and sees GCC 12's std::stable_sort use what is deprecated.
set(STAGECOACH_CLANG_WARNINGS -Wno-pass-failed -Wno-deprecated-declarations)

# -ffp-contract=off: a fused multiply-add is written where it is meant, so that no compiler decides.
# Linked PRIVATE: who uses the libraries compiles as it likes.
add_library(stagecoach_options INTERFACE)
target_compile_features(stagecoach_options INTERFACE cxx_std_20)
target_compile_options(stagecoach_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wnon-virtual-dtor $<$<BOOL:${STAGECOACH_WERROR}>:-Werror>
  $<$<CXX_COMPILER_ID:Clang>:${STAGECOACH_CLANG_WARNINGS}> ${STAGECOACH_MACHINE} -ffp-contract=off -fno-math-errno>)
target_include_directories(stagecoach_options INTERFACE ${PROJECT_SOURCE_DIR})
if(STAGECOACH_SANITIZE)
  target_compile_options(stagecoach_options INTERFACE -fsanitize=${STAGECOACH_SANITIZE}
                         -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(stagecoach_options INTERFACE -fsanitize=${STAGECOACH_SANITIZE})
endif()

# libFuzzer comes with Clang. It wants to see which ways the readers take, and is not in the way of tests.
set(STAGECOACH_FUZZERS OFF)
if(STAGECOACH_SANITIZE MATCHES address AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  set(STAGECOACH_FUZZERS ON)
endif()
set(STAGECOACH_FUZZED base core schedule data trainer cli)

# stagecoach_sources(VARIABLE FOLDER...): every .cpp of the folders, but main.cpp, plugin.cpp and the backends
# in folders named cuda and nccl.
function(stagecoach_sources result)
  list(TRANSFORM ARGN APPEND "/*.cpp" OUTPUT_VARIABLE patterns)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} ${patterns})
  list(FILTER sources EXCLUDE REGEX "/(main|plugin)\\.cpp$|/(cuda|nccl)/")
  set(${result} ${sources} PARENT_SCOPE)
endfunction()

# Reading these is half of the time of compiling a source: done once for all libraries. JSON is not among them:
# it costs every source half a second even so. Who adds us to a build, the sanitizers and clang-tidy read
# the headers as they are, and notice an #include that is missing.
if(PROJECT_IS_TOP_LEVEL AND NOT STAGECOACH_SANITIZE)
  add_library(stagecoach_headers OBJECT cmake/headers.cpp)
  set_target_properties(stagecoach_headers PROPERTIES POSITION_INDEPENDENT_CODE ${STAGECOACH_PIC})
  target_link_libraries(stagecoach_headers PRIVATE stagecoach_options fmt::fmt)
  target_precompile_headers(stagecoach_headers PRIVATE <fmt/format.h> <algorithm> <chrono> <condition_variable>
                            <filesystem> <functional> <map> <memory> <mutex> <optional> <span> <string> <thread>
                            <vector>)
endif()
function(stagecoach_precompiled target)
  if(TARGET stagecoach_headers)
    target_precompile_headers(${target} REUSE_FROM stagecoach_headers)
  endif()
endfunction()

# stagecoach_compile_quickly(FILE...): what no step waits for. -O3 of text and JSON takes twice the time.
function(stagecoach_compile_quickly)
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS $<$<CONFIG:Release>:-O1>)
endfunction()

# stagecoach_library(NAME SOURCES file... [PUBLIC lib...] [PRIVATE lib...])
function(stagecoach_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(stagecoach_${name} STATIC ${arg_SOURCES})
  set_target_properties(stagecoach_${name} PROPERTIES POSITION_INDEPENDENT_CODE ${STAGECOACH_PIC})
  target_link_libraries(stagecoach_${name} PUBLIC ${arg_PUBLIC} PRIVATE stagecoach_options ${arg_PRIVATE})
  if(STAGECOACH_FUZZERS AND name IN_LIST STAGECOACH_FUZZED)
    target_compile_options(stagecoach_${name} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
  stagecoach_precompiled(stagecoach_${name})
  # Reading it takes most of the time of compiling these.
  if(STAGECOACH_SANITIZE AND name MATCHES "^(core|schedule)$")
    target_precompile_headers(stagecoach_${name} PRIVATE <fmt/format.h> <nlohmann/json.hpp> <algorithm>
                              <filesystem> <functional> <memory> <string> <vector>)
  endif()
endfunction()
