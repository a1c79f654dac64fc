// LearningRate: how large the steps of an optimizer are, as a function of the training step alone,
// so that a training that goes on needs nothing but its step.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stagecoach {

enum class LearningRateKind : std::uint8_t {
  kConstant,
  kStep,        // times `gamma` every `step_size` steps: torch's StepLR
  kMilestones,  // times `gamma` at each milestone: MultiStepLR
  kCosine,      // half a cosine from the end of the warm-up down to `min_rate` at `end`:
                // CosineAnnealingLR (Loshchilov and Hutter 2017, without restarts)
};

struct LearningRate {
  double rate = 0.01;  // the largest one, above 0
  LearningRateKind kind = LearningRateKind::kConstant;
  // The first steps climb in a straight line: of `warmup` steps, step i (from 0) makes
  // (i + 1) / warmup of the rate (Goyal et al. 2017).
  std::int64_t warmup = 0;
  double gamma = 0.1;                    // of kStep and kMilestones
  std::int64_t step_size = 0;            // of kStep: steps, at least 1
  std::vector<std::int64_t> milestones;  // of kMilestones: steps, ascending
  std::int64_t end = 0;                  // of kCosine: steps in all, above `warmup`
  double min_rate = 0;                   // of kCosine

  LearningRate() = default;
  LearningRate(double constant) : rate(constant) {}  // NOLINT: a number is one

  // Of training step `step`, from 0. The same bits on every machine. What optimizers get is at().
  double exactly(std::int64_t step) const;
  float at(std::int64_t step) const { return static_cast<float>(exactly(step)); }
  // "cosine to 0 at step 3910, 100 steps of warm-up"; "constant".
  std::string schedule_text() const;
};

}  // namespace stagecoach
