#include "pipeline/step_input.h"

namespace stagecoach {

bool is_full(const StepInput& input) {
  return input.samples < 0 || input.samples == input.images.shape()[0];
}

MicroBatch micro_batch_of(const StepInput& input, std::int64_t index, std::int64_t rows) {
  MicroBatch micro = input.micro;
  micro.index = index;
  micro.first_sample = index * rows;
  micro.batch = is_full(input) ? input.images.shape()[0] : input.samples;
  return micro;
}

StepValues values_of(const StepInput& input) {
  if (input.optimizer == nullptr) return {.step = input.micro.step};
  return input.optimizer->values(input.micro.step);
}

}  // namespace stagecoach
