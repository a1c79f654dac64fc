// LaunchedProcess: whether a launcher has started this process as one of several, by what it has
// left in the environment.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace stagecoach {

struct LaunchedProcess {
  std::string launcher;  // "mpirun", for people
  int rank = 0, processes = 1;
  // The MPIs that such a launcher starts, the likeliest first, as their plug-ins are named. None:
  // no MPI can join these processes.
  std::vector<std::string> mpis;
  std::string seen;  // "OMPI_COMM_WORLD_RANK=0 and OMPI_COMM_WORLD_SIZE=4", for people
};

// Of the first that is there:
//
//   OMPI_COMM_WORLD_RANK    Open MPI's mpirun: Open MPI alone
//   PMI_RANK                MPICH's mpiexec, srun --mpi=pmi2: MPICH, else Open MPI
//   PMIX_RANK               srun --mpi=pmix: Open MPI, else MPICH
//   RANK and MASTER_ADDR    torchrun: none
//   SLURM_PROCID            srun without --mpi: none
//
// None of them, or one process alone: nullopt. Throws Error for numbers that are none.
std::optional<LaunchedProcess> find_launched_process();

// The name of this machine, for people.
std::string host_name();
// What processes have in common that see each other and have one clock: a machine, or a container
// on it.
std::string machine_name();

}  // namespace stagecoach
