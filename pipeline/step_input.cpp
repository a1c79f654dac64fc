#include "pipeline/step_input.h"

namespace stagecoach {

bool is_full(const StepInput& input) {
  return input.samples < 0 || input.samples == input.images.shape()[0];
}

StepInput input_of_replica(StepInput input, int replica, int replicas) {
  if (replicas == 1) return input;
  const std::int64_t all = input.images.shape()[0], rows = all / replicas;
  if (input.samples < 0) input.samples = all;
  input.first_sample = replica * rows;
  input.images = rows_of(input.images, input.first_sample, rows);
  input.targets = rows_of(input.targets, input.first_sample, rows);
  return input;
}

MicroBatch micro_batch_of(const StepInput& input, std::int64_t index, std::int64_t rows) {
  MicroBatch micro = input.micro;
  micro.index = index;
  micro.first_sample = input.first_sample + index * rows;
  micro.batch = input.samples < 0 ? input.images.shape()[0] : input.samples;
  return micro;
}

StepValues values_of(const StepInput& input) {
  if (input.optimizer == nullptr) return {.step = input.micro.step};
  return input.optimizer->values(input.micro.step);
}

}  // namespace stagecoach
