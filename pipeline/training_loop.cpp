#include "pipeline/training_loop.h"

#include <utility>

#include "core/error.h"

namespace stagecoach {

int TrainingLoop::max_in_flight() {
  return launcher() != nullptr ? launcher()->max_in_flight() : 1;
}

void TrainingLoop::launch(const StepInput& input) {
  if (StepLauncher* gpus = launcher()) {
    return gpus->launch(input, [&] { enqueue(input); });
  }
  STAGECOACH_CHECK(!launched_, "TrainingLoop::launch", "no step in flight", "one");
  launched_ = input;
}

StepResult TrainingLoop::finish() {
  if (StepLauncher* gpus = launcher()) return gpus->finish();
  STAGECOACH_CHECK(launched_.has_value(), "TrainingLoop::finish", "a step in flight", "none");
  const StepInput input = *std::exchange(launched_, std::nullopt);
  guard().begin(false);
  run_on_cpu(input);
  const StepResult result{stages().back()->losses(), stages().back()->correct()};
  guard().check(input, result.losses);
  return result;
}

}  // namespace stagecoach
