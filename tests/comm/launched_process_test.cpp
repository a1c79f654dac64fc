#include "comm/launched_process.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"

namespace stagecoach {
namespace {

// The variables of launchers, those of `set` and no others.
class LaunchedProcesses : public ::testing::Test {
 protected:
  void SetUp() override { TearDown(); }
  void TearDown() override {
    for (const char* name : {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE",
                             "PMIX_RANK", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID",
                             "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"}) {
      ::unsetenv(name);
    }
  }
  static void set(const std::map<std::string, std::string>& variables) {
    for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
  }
};

TEST_F(LaunchedProcesses, AreFoundByTheirVariables) {
  EXPECT_FALSE(find_launched_process());
  set({{"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "0"}});  // a batch script is one process
  EXPECT_FALSE(find_launched_process());
  set({{"PMIX_RANK", "3"}, {"SLURM_PROCID", "3"}, {"SLURM_STEP_NUM_TASKS", "8"}});
  ASSERT_TRUE(find_launched_process());
  EXPECT_EQ(find_launched_process()->rank, 3);
  EXPECT_EQ(find_launched_process()->processes, 8);
  EXPECT_EQ(find_launched_process()->launcher, "srun");
  set({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}});
  EXPECT_EQ(find_launched_process()->launcher, "mpiexec");
  set({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "4"}});
  EXPECT_EQ(find_launched_process()->launcher, "mpirun");
  EXPECT_EQ(find_launched_process()->seen, "OMPI_COMM_WORLD_RANK=0 and OMPI_COMM_WORLD_SIZE=4");
}

TEST_F(LaunchedProcesses, NameTheMpisThatUnderstandTheirLauncher) {
  using Names = std::vector<std::string>;
  set({{"PMIX_RANK", "3"}, {"SLURM_STEP_NUM_TASKS", "8"}});
  EXPECT_EQ(find_launched_process()->mpis, (Names{"openmpi", "mpich"}));
  set({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}});
  EXPECT_EQ(find_launched_process()->mpis, (Names{"mpich", "openmpi"}));
  set({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "4"}});
  EXPECT_EQ(find_launched_process()->mpis, Names{"openmpi"});
}

TEST_F(LaunchedProcesses, OfOtherLaunchersHaveNoMpi) {
  set({{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}});
  ASSERT_TRUE(find_launched_process());
  EXPECT_EQ(find_launched_process()->launcher, "srun");
  EXPECT_TRUE(find_launched_process()->mpis.empty());
  set({{"RANK", "3"}, {"WORLD_SIZE", "4"}, {"LOCAL_RANK", "1"}});  // anybody's, without an address
  EXPECT_EQ(find_launched_process()->launcher, "srun");
  set({{"MASTER_ADDR", "127.0.0.1"}});
  EXPECT_EQ(find_launched_process()->launcher, "torchrun");
  EXPECT_EQ(find_launched_process()->rank, 3);
  EXPECT_EQ(find_launched_process()->seen, "RANK=3 and WORLD_SIZE=4");
  EXPECT_TRUE(find_launched_process()->mpis.empty());
  set({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}});
  EXPECT_EQ(find_launched_process()->launcher, "mpiexec");
  set({{"PMI_SIZE", "1"}, {"PMI_RANK", "0"}, {"WORLD_SIZE", "1"}, {"RANK", "0"}});
  EXPECT_EQ(find_launched_process()->launcher, "srun");  // one of several all the same
}

TEST_F(LaunchedProcesses, OneAloneIsNone) {
  set({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "1"}});
  EXPECT_FALSE(find_launched_process());
}

TEST_F(LaunchedProcesses, NumbersThatAreNoneAreRefused) {
  for (const char* rank : {"", "x", "1x", "-1", "4", "99999999999"}) {
    set({{"OMPI_COMM_WORLD_RANK", rank}, {"OMPI_COMM_WORLD_SIZE", "4"}});
    EXPECT_THROW(find_launched_process(), Error) << rank;
  }
}

}  // namespace
}  // namespace stagecoach
