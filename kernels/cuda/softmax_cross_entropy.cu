#include "kernels/softmax_cross_entropy.h"

#include <cmath>
#include <limits>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.h"

namespace stagecoach::cuda {
namespace {

struct RowResult {
  float loss;
  bool correct;
};

// In double, as on the CPU: the rows are few, and the loss of a sure and right answer is
// 1 - (1 - tiny). `grad` may be `logits`: each element is read before it is written.
template <typename T>
__device__ RowResult row_of(std::int64_t classes, T* grad, const T* logits, std::int64_t label,
                            double scale, double smoothing) {
  const auto logit = [=](std::int64_t c) { return static_cast<float>(logits[c]); };
  std::int64_t best = 0;
  for (std::int64_t c = 1; c < classes; ++c) {
    if (logit(best) < logit(c)) best = c;
  }
  const double largest = logit(best), labelled = logit(label);
  double sum = 0.0, shifted = 0.0;
  for (std::int64_t c = 0; c < classes; ++c) {
    sum += std::exp(logit(c) - largest);
    shifted += logit(c) - largest;
  }
  const double share = smoothing / static_cast<double>(classes);
  double exact = std::log(sum) - (1.0 - smoothing) * (labelled - largest);
  if (smoothing > 0) exact -= share * shifted;  // which may be infinite
  const auto loss = static_cast<float>(exact);
  for (std::int64_t c = 0; c < classes; ++c) {
    const double target = (c == label ? 1.0 - smoothing : 0.0) + share;
    const double power = static_cast<float>(std::exp(logit(c) - largest));  // as the CPU keeps it
    grad[c] = T(static_cast<float>((power / sum - target) * scale));
  }
  return {loss, best == label && loss == loss};
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    softmax_cross_entropy_kernel(std::int64_t rows, std::int64_t classes, float* losses,
                                 std::int32_t* correct, T* logits_grad, const T* logits,
                                 const std::int32_t* labels, float scale, std::int64_t samples,
                                 float label_smoothing) {
  for (std::int64_t row = first_item(); row < rows; row += item_stride()) {
    T* grad = logits_grad + row * classes;
    RowResult result{row < samples ? std::numeric_limits<float>::quiet_NaN() : 0.0f, false};
    if (row < samples && labels[row] >= 0 && labels[row] < classes) {
      result = row_of(classes, grad, logits + row * classes, labels[row], scale, label_smoothing);
    } else {
      for (std::int64_t c = 0; c < classes; ++c) grad[c] = T(0.0f);
    }
    losses[row] = result.loss;
    correct[row] = result.correct ? 1 : 0;
  }
}

}  // namespace

void CudaBackend::softmax_cross_entropy(Context& context, Tensor losses, Tensor correct,
                                        Tensor logits_grad, Tensor logits, Tensor labels,
                                        float scale, std::int64_t samples,
                                        float label_smoothing) const {
  const std::int64_t rows = logits.shape()[0], classes = logits.shape()[1];
  with_element_type(logits.spec.dtype, [&]<typename T>(T) {
    launch(context, rows, softmax_cross_entropy_kernel<T>, rows, classes, losses.as<float>(),
           correct.as<std::int32_t>(), logits_grad.as<T>(), logits.as<T>(),
           labels.as<std::int32_t>(), scale, samples, label_smoothing);
  });
}

}  // namespace stagecoach::cuda
