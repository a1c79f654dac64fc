// The processes that an MPI launcher has started (mpirun, srun).
#pragma once

#include <memory>

#include "comm/launched_process.h"
#include "comm/world.h"

namespace stagecoach {

// Blocks until all processes have called it. Throws Error where there is no plug-in for the
// launcher (mpi_plugin.h), or MPI does not start as many processes as it has. One world in the life
// of a process; it ends MPI, unless the job was aborted.
std::unique_ptr<World> make_mpi_world(const LaunchedProcess& process);

}  // namespace stagecoach
