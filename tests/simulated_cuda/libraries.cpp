// cuDNN's and cuBLASLt's part of the backend, simulated by the CPU's operations in fp32:
// convolutions and linear layers as tasks of the simulated stream. BF16 operands are widened before
// and rounded after.
#include <cstring>
#include <vector>

#include "core/bfloat16.h"
#include "core/cuda/runtime.h"
#include "core/error.h"
#include "kernels/cpu/conv2d.h"
#include "kernels/cpu/linear.h"
#include "kernels/cuda/conv2d.h"
#include "kernels/cuda/linear.h"

namespace stagecoach::cuda {
namespace {

// A tensor's elements as floats, and back.
std::vector<float> widened(const Tensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = tensor.spec.dtype == DType::kBF16 ? static_cast<float>(tensor.as<BFloat16>()[i])
                                                  : tensor.as<float>()[i];
  }
  return values;
}

void narrow(const Tensor& tensor, const std::vector<float>& values, Activation activation) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float value = activation == Activation::kRelu && values[i] <= 0.0f ? 0.0f : values[i];
    if (tensor.spec.dtype == DType::kBF16) {
      tensor.as<BFloat16>()[i] = BFloat16(value);
    } else {
      tensor.as<float>()[i] = value;
    }
  }
}

void enqueue(Context& context, std::function<void()> task) {
  use(context.device());
  STAGECOACH_CUDA_CHECK(simulated::enqueue(native_stream(context), std::move(task)));
}

cpu::Conv2dShape shape_of(const TensorSpec& input, const TensorSpec& weight,
                          const TensorSpec& output, const Conv2dOptions& options) {
  return {.images = input.shape[0],
          .in_h = input.shape[2],
          .in_w = input.shape[3],
          .channels = input.shape[1],
          .outputs = weight.shape[0],
          .kernel_h = weight.shape[2],
          .kernel_w = weight.shape[3],
          .out_h = output.shape[2],
          .out_w = output.shape[3],
          .options = options};
}

// Runs body(algorithm, pool, scratch memory) of a convolution.
template <typename Body>
void with_algorithm(const cpu::Conv2dShape& shape, const Body& body) {
  ThreadPool pool(1);
  const cpu::Conv2dAlgorithm& algorithm = cpu::choose_conv2d(shape);
  Buffer workspace(algorithm.workspace_bytes(shape, 1));
  body(algorithm, pool, workspace.data());
}

}  // namespace

std::int64_t conv2d_workspace_bytes(const TensorSpec&, const TensorSpec&, const Conv2dOptions&,
                                    const Target&) {
  return 1024;
}

void conv2d_forward(Context& context, Tensor output, Tensor input, Tensor weight, Tensor bias,
                    const Conv2dOptions& options, Activation activation) {
  context.workspace("conv2d_forward", 1024);
  const cpu::Conv2dShape shape = shape_of(input.spec, weight.spec, output.spec, options);
  enqueue(context, [=] {
    std::vector<float> result(static_cast<std::size_t>(output.elements()));
    with_algorithm(shape,
                   [&](const cpu::Conv2dAlgorithm& algorithm, ThreadPool& pool, void* memory) {
                     algorithm.forward(pool, memory, shape, result.data(), widened(input).data(),
                                       widened(weight).data(), widened(bias).data());
                   });
    narrow(output, result, activation);
  });
}

void conv2d_backward_input(Context& context, Tensor input_grad, Tensor output_grad, Tensor weight,
                           const Conv2dOptions& options) {
  context.workspace("conv2d_backward_input", 1024);
  const cpu::Conv2dShape shape = shape_of(input_grad.spec, weight.spec, output_grad.spec, options);
  enqueue(context, [=] {
    std::vector<float> result(static_cast<std::size_t>(input_grad.elements()));
    with_algorithm(shape,
                   [&](const cpu::Conv2dAlgorithm& algorithm, ThreadPool& pool, void* memory) {
                     algorithm.backward_input(pool, memory, shape, result.data(),
                                              widened(output_grad).data(), widened(weight).data());
                   });
    narrow(input_grad, result, Activation::kNone);
  });
}

void conv2d_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                            Tensor output_grad, Tensor input, const Conv2dOptions& options,
                            GradientMode mode) {
  context.workspace("conv2d_backward_weight", 1024);
  const cpu::Conv2dShape shape = shape_of(input.spec, weight_grad.spec, output_grad.spec, options);
  enqueue(context, [=] {
    with_algorithm(shape, [&](const cpu::Conv2dAlgorithm& algorithm, ThreadPool& pool,
                              void* memory) {
      algorithm.backward_weight(pool, memory, shape, weight_grad.as<float>(), bias_grad.as<float>(),
                                widened(output_grad).data(), widened(input).data(), mode);
    });
  });
}

std::int64_t linear_workspace_bytes(const TensorSpec&, const TensorSpec&, const Target&) {
  return 512;
}

void linear_forward(Context& context, Tensor output, Tensor input, Tensor weight, Tensor bias,
                    Activation activation) {
  const cpu::LinearShape shape{input.shape()[0], input.shape()[1], weight.shape()[0]};
  enqueue(context, [=] {
    ThreadPool pool(1);
    std::vector<float> result(static_cast<std::size_t>(output.elements()));
    cpu::linear_forward(pool, shape, result.data(), widened(input).data(), widened(weight).data(),
                        widened(bias).data());
    narrow(output, result, activation);
  });
}

void linear_backward_input(Context& context, Tensor input_grad, Tensor output_grad, Tensor weight) {
  const cpu::LinearShape shape{input_grad.shape()[0], weight.shape()[1], weight.shape()[0]};
  enqueue(context, [=] {
    ThreadPool pool(1);
    std::vector<float> result(static_cast<std::size_t>(input_grad.elements()));
    cpu::linear_backward_input(pool, shape, result.data(), widened(output_grad).data(),
                               widened(weight).data());
    narrow(input_grad, result, Activation::kNone);
  });
}

void linear_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                            Tensor output_grad, Tensor input, GradientMode mode) {
  const cpu::LinearShape shape{input.shape()[0], input.shape()[1], weight_grad.shape()[0]};
  enqueue(context, [=] {
    ThreadPool pool(1);
    cpu::linear_backward_weight(pool, shape, weight_grad.as<float>(), bias_grad.as<float>(),
                                widened(output_grad).data(), widened(input).data(), mode);
  });
}

}  // namespace stagecoach::cuda
