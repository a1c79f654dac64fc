# What others link, and its installation.
#
#   stagecoach::schedule     tables, check, simulate, drawing: <stagecoach/schedule.h>. No backend.
#   stagecoach::stagecoach   all of it, with the backend: <stagecoach/stagecoach.h>
#
# Each is one library, static or shared (BUILD_SHARED_LIBS), of the floors' objects.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# stagecoach_product(TARGET NAME FLOOR... [PUBLIC lib...] [PRIVATE lib...])
function(stagecoach_product target name)
  cmake_parse_arguments(arg "" "" "PUBLIC;PRIVATE" ${ARGN})
  set(objects)
  foreach(floor ${arg_UNPARSED_ARGUMENTS})
    list(APPEND objects $<TARGET_OBJECTS:stagecoach_${floor}>)
  endforeach()
  add_library(${target} ${objects})
  add_library(stagecoach::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name} LINKER_LANGUAGE CXX INSTALL_RPATH "\$ORIGIN"
                        ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib
                        LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib
                        VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  target_compile_features(${target} INTERFACE cxx_std_20)
  target_include_directories(${target} INTERFACE $<BUILD_INTERFACE:${STAGECOACH_INCLUDE_DIR}>
                             $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${target} PUBLIC ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
endfunction()

stagecoach_product(stagecoach_schedule_lib schedule base schedule PUBLIC fmt::fmt)
set_target_properties(stagecoach_schedule_lib PROPERTIES OUTPUT_NAME stagecoach_schedule)
set(libraries spdlog::spdlog Threads::Threads hwy::hwy CURL::libcurl LibArchive::LibArchive OpenSSL::Crypto
    ${CMAKE_DL_LIBS})
if(STAGECOACH_HAVE_CUDA)
  list(APPEND libraries CUDA::cudart_static)
endif()
if(STAGECOACH_SANITIZE)
  list(APPEND libraries -fsanitize=${STAGECOACH_SANITIZE})
endif()
set(nccl)
if(STAGECOACH_HAVE_NCCL)
  set(nccl nccl)
endif()
stagecoach_product(stagecoach_lib stagecoach core kernels layers data comm pipeline trainer backend ${nccl}
                   PUBLIC stagecoach_schedule_lib PRIVATE ${libraries})
set_target_properties(stagecoach_lib PROPERTIES OUTPUT_NAME stagecoach)

if(STAGECOACH_INSTALL)
  set(folder ${CMAKE_INSTALL_LIBDIR}/cmake/stagecoach)
  foreach(name schedule stagecoach)
    set(target stagecoach_lib)
    if(name STREQUAL "schedule")
      set(target stagecoach_schedule_lib)
    endif()
    install(TARGETS ${target} EXPORT stagecoach-${name} DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(EXPORT stagecoach-${name} NAMESPACE stagecoach:: DESTINATION ${folder}
            FILE stagecoach-${name}.cmake)
  endforeach()
  if(TARGET stagecoach)
    install(TARGETS stagecoach DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
  foreach(mpi ${STAGECOACH_MPIS})
    install(TARGETS stagecoach_${mpi} DESTINATION ${CMAKE_INSTALL_LIBDIR}/stagecoach)
  endforeach()
  install(DIRECTORY ${STAGECOACH_INCLUDE_DIR}/stagecoach DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
          FILES_MATCHING PATTERN "*.h")
  configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/stagecoach-config.cmake.in
                                ${PROJECT_BINARY_DIR}/stagecoach-config.cmake INSTALL_DESTINATION ${folder})
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/stagecoach-config-version.cmake
                                   COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_BINARY_DIR}/stagecoach-config.cmake
          ${PROJECT_BINARY_DIR}/stagecoach-config-version.cmake DESTINATION ${folder})
endif()
