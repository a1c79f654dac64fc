#include "trainer/learning_rate_request.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "trainer/words.h"

namespace stagecoach {
namespace {

constexpr const char* kTrain = "stagecoach train";

// An option that was given belongs to `kind`, which needs it or not.
void check_belongs(const LearningRateRequest& request, const char* option, bool given,
                   std::initializer_list<LearningRateKind> kinds, bool needed = false) {
  const bool fits = std::ranges::find(kinds, request.kind) != kinds.end();
  const auto schedule = fmt::format("--lr-schedule {}", name_of(request.kind));
  if (given && !fits) {
    throw UsageError(
        kTrain, fmt::format("{} with --lr-schedule {}", option, name_of(*kinds.begin())), schedule);
  }
  if (!given && fits && needed) {
    throw UsageError(kTrain, fmt::format("{} with {}", option, schedule), "none",
                     "steps, or epochs: 500, 2.5epochs");
  }
}

void check_fraction(const char* option, std::optional<double> value, double most) {
  if (!value || (*value >= 0 && *value <= most)) return;
  throw UsageError(kTrain, fmt::format("{} of at least 0 and at most {}", option, most),
                   fmt::format("{}", *value));
}

}  // namespace

std::int64_t Duration::in_steps(std::int64_t steps_per_epoch) const {
  return steps > 0 ? steps : std::llround(epochs * static_cast<double>(steps_per_epoch));
}

void check_learning_rate(const LearningRateRequest& request, double rate) {
  using enum LearningRateKind;
  check_belongs(request, "--lr-step-size", request.step_size.has_value(), {kStep}, true);
  check_belongs(request, "--lr-milestones", !request.milestones.empty(), {kMilestones}, true);
  check_belongs(request, "--lr-gamma", request.gamma.has_value(), {kStep, kMilestones});
  check_belongs(request, "--lr-min", request.min_rate.has_value(), {kCosine});
  check_fraction("--lr-gamma", request.gamma, 1);
  check_fraction("--lr-min", request.min_rate, rate);
}

LearningRate learning_rate_of(const LearningRateRequest& request, double rate, std::int64_t steps,
                              std::int64_t steps_per_epoch) {
  LearningRate result = rate;
  result.kind = request.kind;
  result.warmup = request.warmup.in_steps(steps_per_epoch);
  result.gamma = request.gamma.value_or(result.gamma);
  result.min_rate = request.min_rate.value_or(result.min_rate);
  if (request.step_size) {
    result.step_size = std::max<std::int64_t>(1, request.step_size->in_steps(steps_per_epoch));
  }
  for (const Duration& milestone : request.milestones) {
    result.milestones.push_back(milestone.in_steps(steps_per_epoch));
  }
  if (!std::ranges::is_sorted(result.milestones, std::less_equal())) {
    throw UsageError(kTrain, "--lr-milestones that ascend", result.schedule_text());
  }
  if (request.kind != LearningRateKind::kCosine) return result;
  result.end = steps;
  if (result.warmup >= steps) {
    throw UsageError(kTrain, fmt::format("--lr-warmup below the {} steps of the cosine", steps),
                     fmt::format("{} steps", result.warmup));
  }
  return result;
}

}  // namespace stagecoach
