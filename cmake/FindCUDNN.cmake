# FindCUDNN: the headers of cuDNN 9, and its library, which is opened at run time.
#
# Sets CUDNN_FOUND, CUDNN_VERSION, CUDNN_INCLUDE_DIR and CUDNN_LIBRARY, whose folder is for an rpath.
# Looks first in CUDNN_ROOT (variable or environment), CUDNN_HOME and CUDNN_PATH (environment), then
# beside the CUDA toolkit; also in the layout of the Python wheels.
include(FindPackageHandleStandardArgs)
find_package(CUDAToolkit QUIET)
set(_cudnn_hints ${CUDNN_ROOT} $ENV{CUDNN_ROOT} $ENV{CUDNN_HOME} $ENV{CUDNN_PATH}
                 ${CUDAToolkit_INCLUDE_DIRS} ${CUDAToolkit_LIBRARY_DIR})
find_path(CUDNN_INCLUDE_DIR NAMES cudnn_version.h HINTS ${_cudnn_hints}
          PATH_SUFFIXES include include/x86_64-linux-gnu nvidia/cudnn/include)
# NAMES_PER_DIR: otherwise any folder's libcudnn.so comes before a hint's libcudnn.so.9, and headers
# of one version meet the library of another.
find_library(CUDNN_LIBRARY NAMES cudnn libcudnn.so.9 NAMES_PER_DIR HINTS ${_cudnn_hints}
             PATH_SUFFIXES lib lib64 lib/x86_64-linux-gnu nvidia/cudnn/lib)
if(EXISTS "${CUDNN_INCLUDE_DIR}/cudnn_version.h")
  file(STRINGS "${CUDNN_INCLUDE_DIR}/cudnn_version.h" _cudnn_lines
       REGEX "#define CUDNN_(MAJOR|MINOR|PATCHLEVEL) [0-9]+")
  foreach(_cudnn_part MAJOR MINOR PATCHLEVEL)
    string(REGEX REPLACE ".*CUDNN_${_cudnn_part} ([0-9]+).*" "\\1" _cudnn_${_cudnn_part} "${_cudnn_lines}")
  endforeach()
  set(CUDNN_VERSION "${_cudnn_MAJOR}.${_cudnn_MINOR}.${_cudnn_PATCHLEVEL}")
endif()
find_package_handle_standard_args(CUDNN REQUIRED_VARS CUDNN_INCLUDE_DIR CUDNN_LIBRARY
                                  VERSION_VAR CUDNN_VERSION)
mark_as_advanced(CUDNN_INCLUDE_DIR CUDNN_LIBRARY)
