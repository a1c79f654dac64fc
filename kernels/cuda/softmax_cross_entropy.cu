#include "kernels/softmax_cross_entropy.h"

#include <cmath>
#include <limits>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.h"

namespace stagecoach::cuda {
namespace {

// Threads that share a row. Each takes every 16th class; what they have is put together in their
// order, which is that of the classes where these are no more.
constexpr int kLanes = 16, kRowsOfBlock = kThreads / kLanes;

// What a block's threads say to each other about the rows.
struct SharedRows {
  float largest[kRowsOfBlock][kLanes];
  std::int32_t best[kRowsOfBlock][kLanes];
  float labelled[kRowsOfBlock];
  double sums[kRowsOfBlock][kLanes], shifted[kRowsOfBlock][kLanes];
};

// In double, as on the CPU: the rows are few, and the loss of a sure and right answer is
// 1 - (1 - tiny). `logits_grad` may be `logits`: a thread reads and writes the same classes.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    softmax_cross_entropy_kernel(std::int64_t rows, int classes, float* losses,
                                 std::int32_t* correct, T* logits_grad, const T* logits,
                                 const std::int32_t* labels, float scale, std::int64_t samples,
                                 float label_smoothing) {
  __shared__ SharedRows shared;
  const int r = static_cast<int>(threadIdx.x) / kLanes,
            lane = static_cast<int>(threadIdx.x) % kLanes;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kRowsOfBlock + r;
  const std::int32_t label = row < std::min(rows, samples) ? labels[row] : -1;
  const int end = label >= 0 && label < classes ? classes : 0;  // no class takes part otherwise
  const int lanes = classes < kLanes ? classes : kLanes;
  const T* of_row = logits + row * classes;
  const auto logit = [=](int c) { return static_cast<float>(of_row[c]); };

  if (lane < end) {
    int best = lane;
    float largest = logit(lane);
    for (int c = lane; c < end; c += kLanes) {
      const float value = logit(c);
      if (largest < value) {
        largest = value;
        best = c;
      }
      if (c == label) shared.labelled[r] = value;
    }
    shared.largest[r][lane] = largest;
    shared.best[r][lane] = best;
  }
  __syncthreads();

  // The first of the largest.
  int best = 0;
  float largest_logit = 0.0f;
  for (int l = 0; l < lanes && end != 0; ++l) {
    const float value = shared.largest[r][l];
    const bool first = value == largest_logit && shared.best[r][l] < best;
    if (l == 0 || largest_logit < value || first) {
      largest_logit = value;
      best = shared.best[r][l];
    }
  }
  const double largest = largest_logit;
  double power_of_lane = 0.0;
  if (lane < end) {
    double sum = 0.0, shifted = 0.0;
    for (int c = lane; c < end; c += kLanes) {
      const double power = std::exp(logit(c) - largest);
      if (c == lane) power_of_lane = power;
      sum += power;
      shifted += logit(c) - largest;
    }
    shared.sums[r][lane] = sum;
    shared.shifted[r][lane] = shifted;
  }
  __syncthreads();

  double sum = 0.0, shifted = 0.0;
  for (int l = 0; l < lanes && end != 0; ++l) {
    sum += shared.sums[r][l];
    shifted += shared.shifted[r][l];
  }
  if (row >= rows) return;
  const double smoothing = label_smoothing, share = smoothing / static_cast<double>(classes);
  T* grad = logits_grad + row * classes;
  for (int c = lane; c < classes; c += kLanes) {
    if (end == 0) {
      grad[c] = T(0.0f);
      continue;
    }
    const double target = (c == label ? 1.0 - smoothing : 0.0) + share;
    // As the CPU keeps it.
    const double power =
        static_cast<float>(c == lane ? power_of_lane : std::exp(logit(c) - largest));
    grad[c] = T(static_cast<float>((power / sum - target) * scale));
  }
  if (lane != 0) return;
  float loss = row < samples ? std::numeric_limits<float>::quiet_NaN() : 0.0f;
  if (end != 0) {
    double exact = std::log(sum) - (1.0 - smoothing) * (shared.labelled[r] - largest);
    if (smoothing > 0) exact -= share * shifted;  // which may be infinite
    loss = static_cast<float>(exact);
  }
  losses[row] = loss;
  correct[row] = end != 0 && best == label && loss == loss ? 1 : 0;
}

}  // namespace

void CudaBackend::softmax_cross_entropy(Context& context, Tensor losses, Tensor correct,
                                        Tensor logits_grad, Tensor logits, Tensor labels,
                                        float scale, std::int64_t samples,
                                        float label_smoothing) const {
  const std::int64_t rows = logits.shape()[0], classes = logits.shape()[1];
  with_element_type(logits.spec.dtype, [&]<typename T>(T) {
    launch_blocks(context, groups_of(rows, kRowsOfBlock), softmax_cross_entropy_kernel<T>, rows,
                  classes, losses.as<float>(), correct.as<std::int32_t>(), logits_grad.as<T>(),
                  logits.as<T>(), labels.as<std::int32_t>(), scale, samples, label_smoothing);
  });
}

}  // namespace stagecoach::cuda
