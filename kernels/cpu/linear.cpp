#include "kernels/cpu/linear.h"

#include <algorithm>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/relu.h"
#include "kernels/cpu/round_up.h"

namespace stagecoach::cpu {
namespace {

// Cuts into tasks.
constexpr std::int64_t kForwardOutputs = 96;
constexpr std::int64_t kBackwardInputs = 512;
// B of few rows waits for memory: the longer the pieces of the weight's rows that a task reads, the
// better is the processor at reading ahead.
constexpr std::int64_t kStreamedInputs = 2304, kStreamedTasks = 4, kStreamedAlign = 16;
constexpr std::int64_t kWeightOutputs = 256;

std::int64_t backward_inputs(const LinearShape& s) {
  if (s.rows > kStreamRows) return kBackwardInputs;
  return std::min(kStreamedInputs, round_up(divide_up(s.inputs, kStreamedTasks), kStreamedAlign));
}

// F: what a task computes, before it is transposed.
std::int64_t forward_scratch(const LinearShape& s) {
  return kForwardOutputs * s.rows;
}

void bias_gradient(const LinearShape& s, std::int64_t begin, std::int64_t end, float* bias_grad,
                   const float* output_grad, GradientMode mode) {
  if (mode == GradientMode::kOverwrite) std::fill(bias_grad + begin, bias_grad + end, 0.0f);
  for (std::int64_t r = 0; r < s.rows; ++r) {
    for (std::int64_t o = begin; o < end; ++o) bias_grad[o] += output_grad[r * s.outputs + o];
  }
}

}  // namespace

std::int64_t linear_workspace_bytes(const LinearShape& s, int threads) {
  const std::int64_t floats = packed_floats(s.inputs, s.rows) + threads * forward_scratch(s);
  return floats * static_cast<std::int64_t>(sizeof(float));
}

// Transposed, output^T = weight input^T: a batch has few rows and a weight has many, which are then
// read as they lie, once.
void linear_forward(ThreadPool& pool, void* workspace, const LinearShape& s, float* output,
                    const float* input, const float* weight, const float* bias,
                    Activation activation) {
  auto* packed = static_cast<float*>(workspace);
  float* scratch = packed + packed_floats(s.inputs, s.rows);
  pack(Transpose::kYes, s.inputs, s.rows, {input, s.inputs}, packed);
  parallel_ranges(
      pool, s.outputs, kForwardOutputs, [&](std::int64_t begin, std::int64_t end, int thread) {
        float* sums = scratch + thread * forward_scratch(s);
        for (std::int64_t o = begin; o < end; ++o) {
          std::fill_n(sums + (o - begin) * s.rows, s.rows, bias[o]);
        }
        sgemm_packed(end - begin, s.rows, s.inputs, {weight + begin * s.inputs, s.inputs}, packed,
                     SumFrom::kOutput, {sums, s.rows});
        if (activation == Activation::kRelu) {
          relu_in_place((end - begin) * s.rows, sums);
        }
        for (std::int64_t r = 0; r < s.rows; ++r) {
          for (std::int64_t o = begin; o < end; ++o) {
            output[r * s.outputs + o] = sums[(o - begin) * s.rows + r];
          }
        }
      });
}

void linear_backward_input(ThreadPool& pool, const LinearShape& s, float* input_grad,
                           const float* output_grad, const float* weight) {
  parallel_ranges(
      pool, s.inputs, backward_inputs(s), [&](std::int64_t begin, std::int64_t end, int) {
        const Matrix<const float> a{output_grad, s.outputs}, b{weight + begin, s.inputs};
        const Matrix<float> c{input_grad + begin, s.inputs};
        if (s.rows <= kStreamRows) {
          sgemm_streamed(s.rows, end - begin, s.outputs, a, b, SumFrom::kZero, c);
        } else {
          sgemm(Transpose::kNo, Transpose::kNo, s.rows, end - begin, s.outputs, a, b,
                SumFrom::kZero, c);
        }
      });
}

// Each image adds to the chain of a gradient, so that it does not matter how a batch is cut.
void linear_backward_weight(ThreadPool& pool, const LinearShape& s, float* weight_grad,
                            float* bias_grad, const float* output_grad, const float* input,
                            GradientMode mode) {
  const SumFrom from = mode == GradientMode::kOverwrite ? SumFrom::kZero : SumFrom::kOutput;
  parallel_ranges(pool, s.outputs, kWeightOutputs, [&](std::int64_t begin, std::int64_t end, int) {
    bias_gradient(s, begin, end, bias_grad, output_grad, mode);
    sgemm(Transpose::kYes, Transpose::kNo, end - begin, s.inputs, s.rows,
          {output_grad + begin, s.outputs}, {input, s.inputs}, from,
          {weight_grad + begin * s.inputs, s.inputs});
  });
}

}  // namespace stagecoach::cpu
