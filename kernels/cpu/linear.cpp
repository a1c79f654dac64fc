// A batch of few rows reads far more weights than it multiplies: what counts is that the big matrix
// streams through once. F and B by a GEMM library would first copy it into packed blocks; the loops
// here do not. They take the batch in groups of at most kGroup rows, which share each loaded
// weight. W needs no such loops: its big matrix is the result, which a GEMM does not copy.
#include "kernels/cpu/linear.h"

#include <algorithm>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vector.h"

namespace stagecoach::cpu {
namespace {

constexpr std::int64_t kGroup = 8;
// From this many rows on, packing pays.
constexpr std::int64_t kGemmRows = 48;
// Cuts of the weight into tasks: outputs, and inputs.
constexpr std::int64_t kForwardOutputs = 64;
constexpr std::int64_t kWeightOutputs = 256;
constexpr std::int64_t kInputs = 1024;
// The block of the weight's gradient that W zeroes at once.
constexpr std::int64_t kZeroOutputs = 32;
constexpr std::int64_t kZeroInputs = 256;
// B sums over so many outputs in registers, for kTileVectors vectors of columns. Up to
// kMemoryBoundRows rows wait for memory: they ask for the next weights a short time ahead. More
// rows wait for the multiply-adds.
constexpr std::int64_t kMemoryBoundRows = 16;
constexpr std::int64_t kMemoryBoundOutputs = 16;
constexpr std::int64_t kComputeBoundOutputs = 64;
constexpr std::int64_t kTileVectors = 2;
// How far ahead of its use a weight is asked for; the hardware alone asks too late. An address
// behind the last weight is never read: a prefetch is only a hint.
constexpr std::int64_t kAhead = 256;

// Calls body.template operator()<R>() with the constant R = rows in [1, kGroup].
template <std::int64_t R = kGroup, typename Body>
void with_constant_rows(std::int64_t rows, const Body& body) {
  if constexpr (R > 1) {
    if (rows < R) return with_constant_rows<R - 1>(rows, body);
  }
  body.template operator()<R>();
}

// output[r][o] = bias[o] + input[r] . weight[o] for R rows and O outputs.
template <std::int64_t R, std::int64_t O>
void forward_tile(const LinearShape& s, float* output, const float* input, const float* weight,
                  const float* bias) {
  Vector sums[O][R] = {};
  std::int64_t i = 0;
  const auto multiply = [&](std::int64_t count) {
    Vector w[O];
    for (std::int64_t o = 0; o < O; ++o) {
      w[o] = load(weight + o * s.inputs + i, count);
      __builtin_prefetch(weight + o * s.inputs + i + kAhead);
    }
    for (std::int64_t r = 0; r < R; ++r) {
      const Vector x = load(input + r * s.inputs + i, count);
      for (std::int64_t o = 0; o < O; ++o) sums[o][r] += w[o] * x;
    }
  };
  for (; i + kLanes <= s.inputs; i += kLanes) multiply(kLanes);
  if (i < s.inputs) multiply(s.inputs - i);
  for (std::int64_t r = 0; r < R; ++r) {
    for (std::int64_t o = 0; o < O; ++o) {
      output[r * s.outputs + o] = bias[o] + sum_of_lanes(sums[o][r]);
    }
  }
}

// input_grad[r][i] (+)= sum over outputs of output_grad[r][o] weight[o][i] for R rows and V vectors
// of columns, the last with `count` elements.
template <std::int64_t R, std::int64_t V>
void backward_input_tile(const LinearShape& s, std::int64_t outputs, bool first, float* input_grad,
                         const float* output_grad, const float* weight, std::int64_t count) {
  const auto width = [&](std::int64_t v) { return v + 1 < V ? kLanes : count; };
  Vector sums[R][V] = {};
  for (std::int64_t r = 0; !first && r < R; ++r) {
    for (std::int64_t v = 0; v < V; ++v) {
      sums[r][v] = load(input_grad + r * s.inputs + v * kLanes, width(v));
    }
  }
  for (std::int64_t o = 0; o < outputs; ++o) {
    const float* row = weight + o * s.inputs;
    Vector w[V];
    for (std::int64_t v = 0; v < V; ++v) {
      w[v] = load(row + v * kLanes, width(v));
      __builtin_prefetch(row + outputs * s.inputs + v * kLanes);
    }
    for (std::int64_t r = 0; r < R; ++r) {
      const Vector dy = output_grad[r * s.outputs + o] - Vector{};  // in every lane
      for (std::int64_t v = 0; v < V; ++v) sums[r][v] += dy * w[v];
    }
  }
  for (std::int64_t r = 0; r < R; ++r) {
    for (std::int64_t v = 0; v < V; ++v) {
      store(input_grad + r * s.inputs + v * kLanes, sums[r][v], width(v));
    }
  }
}

void forward_few_rows(const LinearShape& s, std::int64_t begin, std::int64_t end, float* output,
                      const float* input, const float* weight, const float* bias) {
  constexpr std::int64_t kTile = 3;
  const auto tiles = [&]<std::int64_t O>(std::int64_t o) {
    for (std::int64_t r = 0; r < s.rows; r += kGroup) {
      with_constant_rows(s.rows - r, [&]<std::int64_t R>() {
        forward_tile<R, O>(s, output + r * s.outputs + o, input + r * s.inputs,
                           weight + o * s.inputs, bias + o);
      });
    }
  };
  std::int64_t o = begin;
  for (; o + kTile <= end; o += kTile) tiles.template operator()<kTile>(o);
  for (; o < end; ++o) tiles.template operator()<1>(o);
}

void backward_input_few_rows(const LinearShape& s, std::int64_t begin, std::int64_t end,
                             float* input_grad, const float* output_grad, const float* weight) {
  const std::int64_t block =
      s.rows <= kMemoryBoundRows ? kMemoryBoundOutputs : kComputeBoundOutputs;
  for (std::int64_t o = 0; o < s.outputs; o += block) {
    const std::int64_t outputs = std::min(block, s.outputs - o);
    const auto tiles = [&]<std::int64_t V>(std::int64_t i, std::int64_t count) {
      for (std::int64_t r = 0; r < s.rows; r += kGroup) {
        with_constant_rows(s.rows - r, [&]<std::int64_t R>() {
          backward_input_tile<R, V>(s, outputs, o == 0, input_grad + r * s.inputs + i,
                                    output_grad + r * s.outputs + o, weight + o * s.inputs + i,
                                    count);
        });
      }
    };
    std::int64_t i = begin;
    for (; i + kTileVectors * kLanes <= end; i += kTileVectors * kLanes) {
      tiles.template operator()<kTileVectors>(i, kLanes);
    }
    for (; i < end; i += kLanes) tiles.template operator()<1>(i, std::min(kLanes, end - i));
  }
}

// weight_grad[o][i] = beta weight_grad[o][i] + sum over rows of output_grad[r][o] input[r][i].
void multiply_weight_grad(const LinearShape& s, std::int64_t output_begin, std::int64_t output_end,
                          std::int64_t input_begin, std::int64_t input_end, float beta,
                          float* weight_grad, const float* output_grad, const float* input) {
  sgemm(Transpose::kYes, Transpose::kNo, output_end - output_begin, input_end - input_begin, s.rows,
        {output_grad + output_begin, s.outputs}, {input + input_begin, s.inputs}, beta,
        {weight_grad + output_begin * s.inputs + input_begin, s.inputs});
}

// Zeros `count` floats, and asks for the ones `ahead` of them to be written next.
void zero_and_prefetch(float* to, std::int64_t count, std::int64_t ahead) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    store(to + i, Vector{});
    __builtin_prefetch(to + i + ahead, 1);
    asm volatile("" ::: "memory");  // or the compiler makes one memset and prefetches after it
  }
  for (; i < count; ++i) to[i] = 0.0f;
}

// The same with beta 0 for few rows: zeros, then the sum while they are in the L1 and L2
// caches. The library's beta = 0 takes twice the time, since it waits for every line it writes.
void overwrite_few_rows(const LinearShape& s, std::int64_t begin, std::int64_t end,
                        float* weight_grad, const float* output_grad, const float* input) {
  for (std::int64_t o = begin; o < end; o += kZeroOutputs) {
    const std::int64_t last_o = std::min(o + kZeroOutputs, end);
    for (std::int64_t i = 0; i < s.inputs; i += kZeroInputs) {
      const std::int64_t last_i = std::min(i + kZeroInputs, s.inputs);
      for (std::int64_t row = o; row < last_o; ++row) {
        zero_and_prefetch(weight_grad + row * s.inputs + i, last_i - i, s.inputs);
      }
      multiply_weight_grad(s, o, last_o, i, last_i, 1.0f, weight_grad, output_grad, input);
    }
  }
}

void bias_gradient(const LinearShape& s, std::int64_t begin, std::int64_t end, float* bias_grad,
                   const float* output_grad, GradientMode mode) {
  for (std::int64_t o = begin; o < end; ++o) {
    float sum = mode == GradientMode::kOverwrite ? 0.0f : bias_grad[o];
    for (std::int64_t r = 0; r < s.rows; ++r) sum += output_grad[r * s.outputs + o];
    bias_grad[o] = sum;
  }
}

}  // namespace

void linear_forward(ThreadPool& pool, const LinearShape& s, float* output, const float* input,
                    const float* weight, const float* bias) {
  parallel_ranges(pool, s.outputs, kForwardOutputs, [&](std::int64_t begin, std::int64_t end, int) {
    if (s.rows < kGemmRows) {
      return forward_few_rows(s, begin, end, output, input, weight, bias);
    }
    for (std::int64_t r = 0; r < s.rows; ++r) {
      std::copy(bias + begin, bias + end, output + r * s.outputs + begin);
    }
    sgemm(Transpose::kNo, Transpose::kYes, s.rows, end - begin, s.inputs, {input, s.inputs},
          {weight + begin * s.inputs, s.inputs}, 1.0f, {output + begin, s.outputs});
  });
}

void linear_backward_input(ThreadPool& pool, const LinearShape& s, float* input_grad,
                           const float* output_grad, const float* weight) {
  parallel_ranges(pool, s.inputs, kInputs, [&](std::int64_t begin, std::int64_t end, int) {
    if (s.rows < kGemmRows) {
      return backward_input_few_rows(s, begin, end, input_grad, output_grad, weight);
    }
    sgemm(Transpose::kNo, Transpose::kNo, s.rows, end - begin, s.outputs, {output_grad, s.outputs},
          {weight + begin, s.inputs}, 0.0f, {input_grad + begin, s.inputs});
  });
}

void linear_backward_weight(ThreadPool& pool, const LinearShape& s, float* weight_grad,
                            float* bias_grad, const float* output_grad, const float* input,
                            GradientMode mode) {
  parallel_ranges(pool, s.outputs, kWeightOutputs, [&](std::int64_t begin, std::int64_t end, int) {
    bias_gradient(s, begin, end, bias_grad, output_grad, mode);
    if (mode == GradientMode::kOverwrite && s.rows < kGemmRows) {
      return overwrite_few_rows(s, begin, end, weight_grad, output_grad, input);
    }
    multiply_weight_grad(s, begin, end, 0, s.inputs, mode == GradientMode::kOverwrite ? 0.0f : 1.0f,
                         weight_grad, output_grad, input);
  });
}

}  // namespace stagecoach::cpu
