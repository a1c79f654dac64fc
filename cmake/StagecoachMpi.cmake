# The MPI plug-ins: one for each MPI that is found, as their ABIs differ. STAGECOACH_MPI: AUTO, ON (at least one), OFF.
#
# The program itself is built without MPI, and starts where there is none: it opens a plug-in, which is
# linked with its MPI, when a launcher has started it as one of several processes.
set(STAGECOACH_MPI "AUTO" CACHE STRING "the MPI plug-ins: AUTO, ON or OFF")
set_property(CACHE STAGECOACH_MPI PROPERTY STRINGS AUTO ON OFF)
set(STAGECOACH_MPI_COMPILERS "mpicc.openmpi;mpicc.mpich;mpicc" CACHE STRING
    "the MPIs' C compilers, by name or path; of each MPI the first one counts")
set(STAGECOACH_MPIS "")  # for which there is a plug-in: openmpi, mpich

# Where they are installed, seen from the program.
file(RELATIVE_PATH folder /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR}/stagecoach)
target_compile_definitions(stagecoach_comm PRIVATE STAGECOACH_PLUGIN_FOLDER="${folder}")

# stagecoach_mpi_plugin(COMPILER): adds libstagecoach_openmpi.so or libstagecoach_mpich.so, if that
# MPI is there with its headers and has none yet; STAGECOACH_MPIEXEC_name is its mpiexec.
function(stagecoach_mpi_plugin compiler)
  find_program(path ${compiler} NO_CACHE)
  if(NOT path)
    return()
  endif()
  set(probe ${PROJECT_BINARY_DIR}/mpi_probe.c)
  file(WRITE ${probe} "#include <mpi.h>\n")
  execute_process(COMMAND ${path} -E -dM ${probe} OUTPUT_VARIABLE macros ERROR_QUIET)
  if(macros MATCHES "#define OPEN_MPI ")
    set(name openmpi)
  elseif(macros MATCHES "#define MPICH_VERSION ")
    set(name mpich)
  else()
    message(STATUS "MPI plug-in: not by ${path}, which finds no mpi.h of Open MPI or MPICH")
    return()
  endif()
  if(TARGET stagecoach_${name})
    return()
  endif()
  execute_process(COMMAND ${path} -show OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE
                  COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  list(POP_FRONT flags)  # the compiler beneath
  set(compile_flags ${flags})
  list(FILTER compile_flags INCLUDE REGEX "^-[ID]")
  list(TRANSFORM compile_flags REPLACE "^-I" "-isystem")
  list(FILTER flags EXCLUDE REGEX "^-[ID]")

  add_library(stagecoach_${name} MODULE comm/mpi/plugin.cpp)
  # Not the sanitizers' flags: a program that was built without them opens it, too.
  target_compile_features(stagecoach_${name} PRIVATE cxx_std_20)
  target_compile_definitions(stagecoach_${name} PRIVATE OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)
  target_compile_options(stagecoach_${name} PRIVATE ${compile_flags})
  target_include_directories(stagecoach_${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(stagecoach_${name} PRIVATE ${flags})
  set_target_properties(stagecoach_${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}
                        CXX_VISIBILITY_PRESET default)
  set(STAGECOACH_MPIS ${STAGECOACH_MPIS} ${name} PARENT_SCOPE)
  string(REGEX REPLACE "mpicc([^/]*)$" "mpiexec\\1" mpiexec ${path})
  set(STAGECOACH_MPIEXEC_${name} ${mpiexec} PARENT_SCOPE)
endfunction()

if(NOT STAGECOACH_MPI STREQUAL "OFF" AND PROJECT_IS_TOP_LEVEL AND NOT CMAKE_CROSSCOMPILING)
  foreach(compiler ${STAGECOACH_MPI_COMPILERS})
    stagecoach_mpi_plugin(${compiler})
  endforeach()
  if(STAGECOACH_MPI STREQUAL "ON" AND NOT STAGECOACH_MPIS)
    message(FATAL_ERROR "STAGECOACH_MPI=ON needs an MPI with its headers: libopenmpi-dev or libmpich-dev")
  endif()
endif()
message(STATUS "MPI plug-ins: ${STAGECOACH_MPIS}")
