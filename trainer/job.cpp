#include "trainer/job.h"

#include "core/error.h"

namespace stagecoach {

std::shared_ptr<const Optimizer> OptimizerRequest::make() const {
  return kind == OptimizerKind::kAdam ? make_adam(learning_rate, adam)
                                      : make_sgd(learning_rate, sgd);
}

TensorSpec TrainJob::input(std::int64_t samples, DType dtype) const {
  if (sample.rank() == 3) return channels_last(samples, sample[0], sample[1], sample[2], dtype);
  STAGECOACH_CHECK(sample.rank() == 1, "TrainJob", "samples [channels, height, width] or [n]",
                   sample.to_string());
  return row_major({samples, sample[0]}, dtype);
}

}  // namespace stagecoach
