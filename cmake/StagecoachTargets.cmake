# Compile options of every target, and stagecoach_library(): one static library per floor.

# What machine code is for. For processors with AVX-512, GCC 12.2 makes a broadcast of the first 8 bytes
# of some constants of 32 bytes whose last 8 are 0: tests/core/compiler_test.cpp shows it. Copying in
# pieces of 16 bytes avoids it.
set(STAGECOACH_MACHINE -march=${STAGECOACH_ARCH})
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 12 AND
   CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  list(APPEND STAGECOACH_MACHINE -mmove-max=128 -mstore-max=128)
endif()

add_library(stagecoach_options INTERFACE)
target_compile_options(stagecoach_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wnon-virtual-dtor $<$<BOOL:${STAGECOACH_WERROR}>:-Werror>
  ${STAGECOACH_MACHINE} -ffp-contract=fast -fno-math-errno>)
target_include_directories(stagecoach_options INTERFACE ${CMAKE_SOURCE_DIR})
if(STAGECOACH_SANITIZE)
  target_compile_options(stagecoach_options INTERFACE -fsanitize=${STAGECOACH_SANITIZE}
                         -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(stagecoach_options INTERFACE -fsanitize=${STAGECOACH_SANITIZE})
endif()

# stagecoach_library(NAME [PUBLIC lib...] [PRIVATE lib...]): every .cpp of the folder NAME, but main.cpp
# and the backends in its folder cuda.
function(stagecoach_library name)
  cmake_parse_arguments(arg "" "" "PUBLIC;PRIVATE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR} ${name}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "/main\\.cpp$|^[a-z]+/cuda/")
  if(NOT sources)
    add_library(stagecoach_${name} INTERFACE)
    target_link_libraries(stagecoach_${name} INTERFACE stagecoach_options ${arg_PUBLIC} ${arg_PRIVATE})
    return()
  endif()
  add_library(stagecoach_${name} STATIC ${sources})
  target_link_libraries(stagecoach_${name} PUBLIC stagecoach_options ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
endfunction()
