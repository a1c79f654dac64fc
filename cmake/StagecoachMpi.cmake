# The MPI plug-in. STAGECOACH_MPI: AUTO (where an MPI is found), ON, OFF.
#
# The program itself is built without MPI, and starts where there is none: it opens the plug-in, which is
# linked with MPI, when a launcher has started it as one of several processes.
set(STAGECOACH_MPI "AUTO" CACHE STRING "the MPI plug-in: AUTO, ON or OFF")
set_property(CACHE STAGECOACH_MPI PROPERTY STRINGS AUTO ON OFF)
set(STAGECOACH_HAVE_MPI OFF)

# Where it is installed, seen from the program.
file(RELATIVE_PATH folder /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR}/stagecoach)
target_compile_definitions(stagecoach_comm PRIVATE STAGECOACH_PLUGIN_FOLDER="${folder}")

if(NOT STAGECOACH_MPI STREQUAL "OFF" AND PROJECT_IS_TOP_LEVEL AND NOT CMAKE_CROSSCOMPILING)
  find_package(MPI COMPONENTS CXX QUIET)
  if(STAGECOACH_MPI STREQUAL "ON" AND NOT MPI_CXX_FOUND)
    message(FATAL_ERROR "STAGECOACH_MPI=ON needs an MPI with its headers: libopenmpi-dev")
  endif()
  set(STAGECOACH_HAVE_MPI ${MPI_CXX_FOUND})
endif()
message(STATUS "MPI plug-in: ${STAGECOACH_HAVE_MPI}")

if(STAGECOACH_HAVE_MPI)
  add_library(stagecoach_mpi MODULE comm/mpi/plugin.cpp)
  # Not the sanitizers' flags: a program that was built without them opens it, too.
  target_compile_features(stagecoach_mpi PRIVATE cxx_std_20)
  target_compile_definitions(stagecoach_mpi PRIVATE OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)
  target_include_directories(stagecoach_mpi PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(stagecoach_mpi PRIVATE MPI::MPI_CXX)
  set_target_properties(stagecoach_mpi PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}
                        CXX_VISIBILITY_PRESET default)
endif()
