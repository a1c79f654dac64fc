#include "kernels/cpu/softmax_cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "core/portable_math.h"

namespace stagecoach::cpu {
namespace {

constexpr std::int64_t kGrain = 4096;  // logits of one task

struct RowResult {
  float loss;
  bool correct;
};

// In double: the rows are few, and the loss of a sure and right answer is 1 - (1 - tiny).
RowResult row_of(std::int64_t classes, float* grad, const float* logits, std::int64_t label,
                 double scale, double smoothing) {
  const std::int64_t best = std::max_element(logits, logits + classes) - logits;
  const double largest = logits[best], labelled = logits[label];
  double sum = 0.0, shifted = 0.0;
  for (std::int64_t c = 0; c < classes; ++c) {
    const double power = portable::exp(static_cast<double>(logits[c]) - largest);
    sum += power;
    shifted += static_cast<double>(logits[c]) - largest;
    grad[c] = static_cast<float>(power);  // logits[c] is not read again
  }
  const double share = smoothing / static_cast<double>(classes);
  for (std::int64_t c = 0; c < classes; ++c) {
    const double target = (c == label ? 1.0 - smoothing : 0.0) + share;
    grad[c] = static_cast<float>((static_cast<double>(grad[c]) / sum - target) * scale);
  }
  double loss = portable::log(sum) - (1.0 - smoothing) * (labelled - largest);
  if (smoothing > 0) loss -= share * shifted;  // which may be infinite
  return {static_cast<float>(loss), best == label && !std::isnan(loss)};
}

}  // namespace

void softmax_cross_entropy(ThreadPool& pool, std::int64_t rows, std::int64_t classes, float* losses,
                           std::int32_t* correct, float* logits_grad, const float* logits,
                           const std::int32_t* labels, float scale, float label_smoothing) {
  const std::int64_t grain = std::max<std::int64_t>(1, kGrain / classes);
  parallel_ranges(pool, rows, grain, [=](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      const RowResult result = row_of(classes, logits_grad + row * classes, logits + row * classes,
                                      labels[row], scale, label_smoothing);
      losses[row] = result.loss;
      correct[row] = result.correct ? 1 : 0;
    }
  });
}

}  // namespace stagecoach::cpu
