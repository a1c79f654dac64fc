// The processes that an MPI launcher has started (mpirun, srun).
#pragma once

#include <memory>

#include "comm/world.h"

namespace stagecoach {

// Blocks until all processes have called it. The plug-in is looked for beside the program, in the
// folder that it is installed to, and where the loader looks. Throws Error where there is none, or
// MPI does not start. One world in the life of a process; it ends MPI, unless the job was aborted.
std::unique_ptr<World> make_mpi_world();

}  // namespace stagecoach
