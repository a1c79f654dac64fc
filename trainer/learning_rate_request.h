// How a user asks for a learning rate: lengths are steps, or epochs, whose steps only the data
// know.
#pragma once

#include <optional>
#include <vector>

#include "pipeline/learning_rate.h"

namespace stagecoach {

// So many steps, or where these are 0 so many epochs.
struct Duration {
  std::int64_t steps = 0;
  double epochs = 0;

  bool operator==(const Duration&) const = default;
  // Rounded to whole steps.
  std::int64_t in_steps(std::int64_t steps_per_epoch) const;
};

// Optional: what not every schedule has.
struct LearningRateRequest {
  LearningRateKind kind = LearningRateKind::kConstant;
  Duration warmup;
  std::optional<Duration> step_size;
  std::vector<Duration> milestones;
  std::optional<double> gamma, min_rate;
};

// Throws UsageError naming the option that is missing, out of range, or of another schedule.
void check_learning_rate(const LearningRateRequest& request, double rate);
// For a training of `steps`. Throws UsageError where a length does not fit into it.
LearningRate learning_rate_of(const LearningRateRequest& request, double rate, std::int64_t steps,
                              std::int64_t steps_per_epoch);

}  // namespace stagecoach
