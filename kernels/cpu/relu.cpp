#include "kernels/cpu/relu.h"

namespace stagecoach::cpu {
namespace {

constexpr std::int64_t kGrain = std::int64_t{1} << 16;

}  // namespace

// `ivdep` in both: operands are the same memory or apart, and the check that the compiler would
// make at run time sends the first case to a scalar loop.

void relu_forward(ThreadPool& pool, std::int64_t elements, float* output, const float* input) {
  parallel_ranges(pool, elements, kGrain, [=](std::int64_t begin, std::int64_t end, int) {
#pragma GCC ivdep
    for (std::int64_t i = begin; i < end; ++i) {
      const float x = input[i];
      output[i] = x <= 0.0f ? 0.0f : x;  // false for NaN
    }
  });
}

void relu_backward(ThreadPool& pool, std::int64_t elements, float* input_grad,
                   const float* output_grad, const float* output) {
  parallel_ranges(pool, elements, kGrain, [=](std::int64_t begin, std::int64_t end, int) {
#pragma GCC ivdep
    for (std::int64_t i = begin; i < end; ++i) {
      const float gradient = output_grad[i];
      input_grad[i] = output[i] > 0.0f ? gradient : 0.0f;
    }
  });
}

}  // namespace stagecoach::cpu
