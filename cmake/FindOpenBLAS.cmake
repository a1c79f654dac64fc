# OpenBLAS with its C interface: target openblas.
include(FindPackageHandleStandardArgs)
find_path(OPENBLAS_INCLUDE_DIR cblas.h PATH_SUFFIXES x86_64-linux-gnu x86_64-linux-gnu/openblas-pthread
          aarch64-linux-gnu openblas)
find_library(OPENBLAS_LIBRARY openblas)
find_package_handle_standard_args(OpenBLAS REQUIRED_VARS OPENBLAS_LIBRARY OPENBLAS_INCLUDE_DIR)
if(OpenBLAS_FOUND AND NOT TARGET openblas)
  add_library(openblas INTERFACE IMPORTED GLOBAL)
  target_include_directories(openblas SYSTEM INTERFACE ${OPENBLAS_INCLUDE_DIR})
  target_link_libraries(openblas INTERFACE ${OPENBLAS_LIBRARY})
endif()
