// How a training run evaluates on GPUs.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include "trainer/train.h"

namespace stagecoach {
namespace {

// The test images are uploaded once, however often they are evaluated.
TEST(SimulatedEvaluation, TakesNoMemoryAnew) {
  TrainRequest request;
  request.device = DeviceRequest::cuda({0});
  request.data = DataKind::kSynthetic;
  request.image_size = 64;
  request.micro_batch_size = 1;
  request.micro_batches = 2;
  request.partition = {PartitionKind::kUniform, {}};
  request.max_train_samples = 8;
  request.max_test_samples = 3;
  request.steps = 4;
  request.quiet = true;
  const auto allocations = [&](std::int64_t eval_every) {
    request.eval_every = eval_every;
    const long before = simulated::device_allocations();
    const RunReport report = train(resolve(request));
    EXPECT_EQ(report.test_samples, 3);
    return simulated::device_allocations() - before;
  };
  EXPECT_EQ(allocations(1), allocations(4));
}

}  // namespace
}  // namespace stagecoach
