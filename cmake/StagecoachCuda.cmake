# The CUDA backend. STAGECOACH_CUDA: AUTO (where toolkit and cuDNN's headers are found), ON, OFF.
#
# The floors call the backend's functions and do not know which one they get: each program links one
# of these object libraries beside them.
#   stagecoach_backend            CUDA where it was found, else core/cuda/absent.cpp and its like
#   stagecoach_nccl               NCCL between processes, where CUDA and NCCL's header were found
#   stagecoach_simulated_backend  for tests: the same sources on a CUDA runtime that runs on the CPU
set(STAGECOACH_CUDA "AUTO" CACHE STRING "the CUDA backend: AUTO, ON or OFF")
set_property(CACHE STAGECOACH_CUDA PROPERTY STRINGS AUTO ON OFF)
set(STAGECOACH_HAVE_CUDA OFF)

# This machine's GPU, or an H100 where there is none.
function(stagecoach_gpu_architecture result)
  execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
                  OUTPUT_VARIABLE found ERROR_QUIET RESULT_VARIABLE status)
  if(status EQUAL 0 AND found MATCHES "^([0-9]+)\\.([0-9]+)")
    set(${result} ${CMAKE_MATCH_1}${CMAKE_MATCH_2}-real PARENT_SCOPE)
  else()
    set(${result} 90-real PARENT_SCOPE)
  endif()
endfunction()

# CMake 3.25 knows CUDA up to C++17.
macro(stagecoach_enable_cuda)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    stagecoach_gpu_architecture(CMAKE_CUDA_ARCHITECTURES)
  endif()
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  # In the program itself: it then starts where CUDA is not installed. cuDNN, cuBLASLt and NCCL are
  # loaded when they are first needed.
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
endmacro()

if(NOT STAGECOACH_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    stagecoach_enable_cuda()
    find_package(CUDAToolkit 13.0)
    find_package(CUDNN 9)
    if(CUDAToolkit_FOUND AND CUDNN_FOUND)
      set(STAGECOACH_HAVE_CUDA ON)
    endif()
  endif()
  if(STAGECOACH_CUDA STREQUAL "ON" AND NOT STAGECOACH_HAVE_CUDA)
    message(FATAL_ERROR "STAGECOACH_CUDA=ON needs nvcc and the CUDA toolkit, 13.0 or newer (set "
                        "CUDACXX or PATH), and cuDNN 9 with its headers (set CUDNN_ROOT)")
  endif()
endif()
message(STATUS "CUDA backend: ${STAGECOACH_HAVE_CUDA}")

file(GLOB STAGECOACH_CUDA_SOURCES CONFIGURE_DEPENDS core/cuda/*.cpp kernels/cuda/*.cpp kernels/cuda/*.cu)
list(FILTER STAGECOACH_CUDA_SOURCES EXCLUDE REGEX "/absent\\.cpp$")
stagecoach_compile_quickly(kernels/cuda/plan_cache.cpp kernels/cuda/conv2d_plans.cpp)

if(STAGECOACH_HAVE_CUDA)
  # To nvcc such a file is nearly all headers, which it reads three times: two files include all of them.
  set(sources ${STAGECOACH_CUDA_SOURCES})
  list(FILTER sources EXCLUDE REGEX "\\.cu$")
  set(includes_0)
  set(includes_1)
  set(half 0)
  foreach(kernel ${STAGECOACH_CUDA_SOURCES})
    if(kernel MATCHES "\\.cu$")
      string(APPEND includes_${half} "#include \"${kernel}\"\n")
      math(EXPR half "1 - ${half}")
    endif()
  endforeach()
  foreach(half 0 1)
    file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/kernels_${half}.cu CONTENT "${includes_${half}}")
    list(APPEND sources ${PROJECT_BINARY_DIR}/kernels_${half}.cu)
  endforeach()
  add_library(stagecoach_backend OBJECT ${sources})
  # --expt-relaxed-constexpr: kernels call the constexpr functions of core.
  target_compile_options(stagecoach_backend PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr -lineinfo
    $<$<BOOL:${STAGECOACH_WERROR}>:-Werror=all-warnings> -Wdefault-stream-launch
    -Xptxas=-warn-spills -Xcompiler=-Wall,-Wextra,$<JOIN:${STAGECOACH_MACHINE},,>>)
  target_link_libraries(stagecoach_backend PUBLIC stagecoach_kernels PRIVATE stagecoach_options
                        CUDA::cudart_static nlohmann_json::nlohmann_json)
  target_include_directories(stagecoach_backend SYSTEM PRIVATE ${CUDNN_INCLUDE_DIR})
  # Where the libraries were when this was built; LD_LIBRARY_PATH comes first.
  get_filename_component(cudnn_folder ${CUDNN_LIBRARY} DIRECTORY)
  set(CMAKE_BUILD_RPATH ${CUDAToolkit_LIBRARY_DIR} ${cudnn_folder})
else()
  add_library(stagecoach_backend OBJECT core/cuda/absent.cpp)
  target_link_libraries(stagecoach_backend PUBLIC stagecoach_kernels PRIVATE stagecoach_options)
endif()
stagecoach_precompiled(stagecoach_backend)
set_target_properties(stagecoach_backend PROPERTIES POSITION_INDEPENDENT_CODE ${STAGECOACH_PIC})
target_link_libraries(stagecoach_backend PUBLIC ${CMAKE_DL_LIBS})

# NCCL itself is opened when it is first needed.
set(STAGECOACH_HAVE_NCCL OFF)
if(STAGECOACH_HAVE_CUDA)
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS} ENV NCCL_ROOT PATH_SUFFIXES include)
  if(NCCL_INCLUDE_DIR)
    set(STAGECOACH_HAVE_NCCL ON)
  endif()
endif()
message(STATUS "NCCL: ${STAGECOACH_HAVE_NCCL}")
file(GLOB STAGECOACH_NCCL_SOURCES CONFIGURE_DEPENDS comm/nccl/*.cpp)
if(STAGECOACH_HAVE_NCCL)
  add_library(stagecoach_nccl OBJECT ${STAGECOACH_NCCL_SOURCES})
  target_include_directories(stagecoach_nccl SYSTEM PRIVATE ${NCCL_INCLUDE_DIR} ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(stagecoach_nccl PUBLIC stagecoach_comm PRIVATE stagecoach_options)
  stagecoach_precompiled(stagecoach_nccl)
  set_target_properties(stagecoach_nccl PROPERTIES POSITION_INDEPENDENT_CODE ${STAGECOACH_PIC})
endif()
