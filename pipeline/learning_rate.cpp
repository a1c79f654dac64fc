#include "pipeline/learning_rate.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/portable_math.h"

namespace stagecoach {
namespace {

double decayed(const LearningRate& of, std::int64_t step) {
  switch (of.kind) {
    case LearningRateKind::kConstant:
      return of.rate;
    case LearningRateKind::kStep:
      return of.rate * portable::power(of.gamma, step / of.step_size);
    case LearningRateKind::kMilestones:
      return of.rate * portable::power(
                           of.gamma, std::ranges::count_if(of.milestones, [step](std::int64_t at) {
                             return at <= step;
                           }));
    case LearningRateKind::kCosine: {
      const std::int64_t length = of.end - of.warmup;
      const std::int64_t passed = std::clamp<std::int64_t>(step - of.warmup, 0, length);
      const double half_turns = static_cast<double>(passed) / static_cast<double>(length);
      const double cosine = portable::sin_cos_of_turns(half_turns / 2).cos;
      return of.min_rate + (of.rate - of.min_rate) * ((1.0 + cosine) / 2);
    }
  }
  return of.rate;
}

std::string decay_text(const LearningRate& of) {
  switch (of.kind) {
    case LearningRateKind::kConstant:
      return "constant";
    case LearningRateKind::kStep:
      return fmt::format("times {} every {} steps", of.gamma, of.step_size);
    case LearningRateKind::kMilestones:
      return fmt::format("times {} at step {}", of.gamma, fmt::join(of.milestones, ", "));
    case LearningRateKind::kCosine:
      return fmt::format("cosine to {} at step {}", of.min_rate, of.end);
  }
  return "";
}

}  // namespace

double LearningRate::exactly(std::int64_t step) const {
  double value = decayed(*this, step);
  if (step < warmup) value *= static_cast<double>(step + 1) / static_cast<double>(warmup);
  return value;
}

std::string LearningRate::schedule_text() const {
  const std::string warm = warmup > 0 ? fmt::format(", {} steps of warm-up", warmup) : "";
  return decay_text(*this) + warm;
}

}  // namespace stagecoach
