// check_target() on GPUs that are not here.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include "kernels/target.h"
#include "tests/cuda/both.h"
#include "tests/kernels/checks.h"

namespace stagecoach {
namespace {

using testing::expect_error;

class SimulatedTarget : public ::testing::Test {
 protected:
  ~SimulatedTarget() override { simulated::set_compute_capability(9, 0); }

  static void check(Precision precision) {
    Target target(1, testing::kGpu);
    target.precision = precision;
    check_target(target);
  }
};

TEST_F(SimulatedTarget, PrecisionsNeedComputeCapability8) {
  for (const Precision precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16}) {
    check(precision);
  }
  simulated::set_compute_capability(8, 0);
  check(Precision::kBf16);
  simulated::set_compute_capability(7, 5);
  check(Precision::kFp32);
  expect_error([] { check(Precision::kBf16); },
               {"cuda:0", "8.0 or higher for --precision bf16",
                "Simulated GPU of compute capability 7.5", "--precision fp32"});
  expect_error([] { check(Precision::kTf32); }, {"--precision tf32"});
}

TEST_F(SimulatedTarget, SaysWhatToBuildWhereThereIsNoCode) {
  simulated::set_compute_capability(12, 0, false);
  expect_error([] { check(Precision::kFp32); },
               {"cuda:0", "this build has code for", "Simulated GPU of compute capability 12.0",
                "-DCMAKE_CUDA_ARCHITECTURES=120"});
}

}  // namespace
}  // namespace stagecoach
