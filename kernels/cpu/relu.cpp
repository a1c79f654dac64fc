#include "kernels/cpu/relu.h"

#include "kernels/cpu/ivdep.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/relu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace stagecoach::cpu::HWY_NAMESPACE {
namespace {

constexpr std::int64_t kGrain = std::int64_t{1} << 16;

}  // namespace

void relu(std::int64_t elements, float* output, const float* input) {
  STAGECOACH_IVDEP
  for (std::int64_t i = 0; i < elements; ++i) {
    const float x = input[i];
    output[i] = x <= 0.0f ? 0.0f : x;  // false for NaN
  }
}

void relu_forward(ThreadPool& pool, std::int64_t elements, float* output, const float* input) {
  parallel_ranges(pool, elements, kGrain, [=](std::int64_t begin, std::int64_t end, int) {
    relu(end - begin, output + begin, input + begin);
  });
}

void relu_backward(ThreadPool& pool, std::int64_t elements, float* input_grad,
                   const float* output_grad, const float* output) {
  parallel_ranges(pool, elements, kGrain, [=](std::int64_t begin, std::int64_t end, int) {
    STAGECOACH_IVDEP
    for (std::int64_t i = begin; i < end; ++i) {
      const float gradient = output_grad[i];
      input_grad[i] = output[i] > 0.0f ? gradient : 0.0f;
    }
  });
}

}  // namespace stagecoach::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stagecoach::cpu {

HWY_EXPORT(relu);
HWY_EXPORT(relu_forward);
HWY_EXPORT(relu_backward);

void relu_forward(ThreadPool& pool, std::int64_t elements, float* output, const float* input) {
  HWY_DYNAMIC_DISPATCH(relu_forward)(pool, elements, output, input);
}

void relu_in_place(std::int64_t elements, float* values) {
  HWY_DYNAMIC_DISPATCH(relu)(elements, values, values);
}

void relu_backward(ThreadPool& pool, std::int64_t elements, float* input_grad,
                   const float* output_grad, const float* output) {
  HWY_DYNAMIC_DISPATCH(relu_backward)(pool, elements, input_grad, output_grad, output);
}

}  // namespace stagecoach::cpu
#endif
