// The linear layer on a GPU against the CPU's, for the tests of it.
#pragma once

#include <cmath>
#include <ostream>

#include "kernels/linear.h"
#include "kernels/relu.h"
#include "tests/cuda/both.h"

namespace stagecoach::testing {

struct LinearCase {
  std::int64_t rows, inputs, outputs;
  Precision precision;

  DType dtype() const { return precision == Precision::kBf16 ? DType::kBF16 : DType::kF32; }
  Target target() const {
    Target target(1, kGpu);
    target.precision = precision;
    return target;
  }
  // Relative. Sums are in fp32, but TF32 rounds the operands, and BF16 the results.
  double tolerance() const {
    return precision == Precision::kFp32 ? 1e-5 : precision == Precision::kTf32 ? 2e-3 : 1e-2;
  }
};

inline void PrintTo(const LinearCase& c, std::ostream* out) {
  *out << name_of(c.precision) << "_" << c.rows << "x" << c.inputs << "x" << c.outputs;
}

// Of packs and of neither, one row, one output, AlexNet's ten classes, a layer of some size.
inline std::vector<LinearCase> linear_cases() {
  std::vector<LinearCase> cases;
  for (const Precision precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16}) {
    for (const auto& [rows, inputs, outputs] : {std::tuple{1, 1, 1},
                                                {3, 5, 7},
                                                {8, 64, 32},
                                                {17, 33, 10},
                                                {32, 4096, 10},
                                                {5, 256, 1},
                                                {128, 512, 256}}) {
      cases.push_back({rows, inputs, outputs, precision});
    }
  }
  return cases;
}

// output, input, weight, bias, input_grad, output_grad, weight_grad, bias_grad.
inline std::deque<OwnedTensor> linear_tensors(const LinearCase& c) {
  const TensorSpec input = row_major({c.rows, c.inputs}, c.dtype());
  const TensorSpec output = row_major({c.rows, c.outputs}, c.dtype());
  const TensorSpec weight = row_major({c.outputs, c.inputs}, c.dtype());
  return random_inputs({output, input, weight, row_major({c.outputs}, c.dtype()), input, output,
                        row_major({c.outputs, c.inputs}), row_major({c.outputs})},
                       11);
}

// All three operations, with as much workspace as they ask for; the CPU's ReLU is an operation of
// its own.
inline auto linear_run(Activation activation, GradientMode mode) {
  return [=](Context& context, const std::vector<Tensor>& t) {
    const bool on_gpu = context.device().type == DeviceType::kCuda;
    const std::int64_t bytes = linear_workspace_bytes(t[1].spec, t[2].spec, context.target());
    const OwnedTensor workspace(row_major({bytes}, DType::kU8), context.device());
    context.set_workspace(workspace.tensor);
    linear_forward(context, t[0], t[1], t[2], t[3], on_gpu ? activation : Activation::kNone);
    if (!on_gpu && activation == Activation::kRelu) relu_forward(context, t[0], t[0]);
    linear_backward_input(context, t[4], t[5], t[2]);
    linear_backward_weight(context, t[6], t[7], t[5], t[1], mode);
    context.stream().synchronize();
    context.set_workspace({});
  };
}

// Relative distance of all elements together.
inline double distance(const std::vector<float>& got, const std::vector<float>& expected) {
  double difference = 0.0, size = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(got[i] - expected[i], 2);
    size += std::pow(expected[i], 2);
  }
  return std::sqrt(difference) / std::max(std::sqrt(size), 1e-6);
}

// Every output of the GPU within the case's tolerance of the CPU's.
inline void expect_linear_as_on_cpu(const LinearCase& c, Activation activation, GradientMode mode) {
  const auto tensors = linear_tensors(c);
  const auto run = linear_run(activation, mode);
  const Values got = on_gpu(tensors, run, c.target());
  const Values expected = on_cpu(tensors, run);
  for (const auto& [index, name] :
       {std::pair{0, "output"}, {4, "input_grad"}, {6, "weight_grad"}, {7, "bias_grad"}}) {
    EXPECT_LE(distance(got[index], expected[index]), c.tolerance()) << name;
  }
}

}  // namespace stagecoach::testing
