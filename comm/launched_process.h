// LaunchedProcess: whether a launcher has started this process as one of several, by what it has
// left in the environment.
#pragma once

#include <optional>
#include <string>

namespace stagecoach {

struct LaunchedProcess {
  std::string launcher;  // "mpirun", for people
  int rank = 0, processes = 1;
};

// Of Open MPI's mpirun (OMPI_COMM_WORLD_RANK), MPICH's and Slurm's PMI2 (PMI_RANK), Slurm's PMIx
// (PMIX_RANK). None: nobody has, or it is one process alone. Throws Error for numbers that are
// none.
std::optional<LaunchedProcess> find_launched_process();

// The name of this machine.
std::string host_name();

}  // namespace stagecoach
