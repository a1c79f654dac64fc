#include "comm/launched_process.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>

#include "core/error.h"

namespace stagecoach {
namespace {

// The variables of launchers, those of `set` and no others.
class LaunchedProcesses : public ::testing::Test {
 protected:
  void SetUp() override { TearDown(); }
  void TearDown() override {
    for (const char* name : {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE",
                             "PMIX_RANK", "SLURM_NTASKS"}) {
      ::unsetenv(name);
    }
  }
  static void set(const std::map<std::string, std::string>& variables) {
    for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
  }
};

TEST_F(LaunchedProcesses, AreFoundByTheirVariables) {
  EXPECT_FALSE(find_launched_process());
  set({{"SLURM_NTASKS", "8"}});  // a batch script is one process
  EXPECT_FALSE(find_launched_process());
  set({{"PMIX_RANK", "3"}});
  ASSERT_TRUE(find_launched_process());
  EXPECT_EQ(find_launched_process()->rank, 3);
  EXPECT_EQ(find_launched_process()->processes, 8);
  EXPECT_EQ(find_launched_process()->launcher, "srun");
  set({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}});
  EXPECT_EQ(find_launched_process()->launcher, "mpiexec");
  set({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "4"}});
  EXPECT_EQ(find_launched_process()->launcher, "mpirun");
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
