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
#include "kernels/cuda/conv2d_library.h"
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

cpu::Conv2dShape shape_of(const ConvProblem& problem) {
  return {.images = problem.n,
          .in_h = problem.h,
          .in_w = problem.w,
          .channels = problem.c,
          .outputs = problem.o,
          .kernel_h = problem.kh,
          .kernel_w = problem.kw,
          .out_h = problem.out_h(),
          .out_w = problem.out_w(),
          .options = {.stride_h = problem.stride_h,
                      .stride_w = problem.stride_w,
                      .padding_h = problem.padding_h,
                      .padding_w = problem.padding_w}};
}

// The operands as tensors of the problem's dtype.
struct ConvTensors {
  ConvTensors(const ConvProblem& p, const ConvOperands& operands, Device device)
      : x{operands.x, channels_last(p.n, p.c, p.h, p.w, p.dtype()), device},
        w{operands.w, channels_last(p.o, p.c, p.kh, p.kw, p.dtype()), device},
        y{operands.y, channels_last(p.n, p.o, p.out_h(), p.out_w(), p.dtype()), device},
        bias{operands.bias, row_major({p.o}, p.dtype()), device} {}
  Tensor x, w, y, bias;
};

// Runs body(algorithm, pool, scratch memory) of a convolution.
template <typename Body>
void with_algorithm(const cpu::Conv2dShape& shape, const Body& body) {
  ThreadPool pool(1);
  const cpu::Conv2dAlgorithm& algorithm = cpu::choose_conv2d(shape);
  Buffer workspace(algorithm.workspace_bytes(shape, 1));
  body(algorithm, pool, workspace.data());
}

void compute(const ConvProblem& problem, const ConvTensors& tensors) {
  const auto& [x, w, y, bias] = tensors;
  const bool forward = problem.kind == ConvKind::kForward || problem.kind == ConvKind::kForwardRelu;
  const Tensor& result = forward ? y : problem.kind == ConvKind::kBackwardInput ? x : w;
  std::vector<float> values(static_cast<std::size_t>(result.elements()));
  with_algorithm(shape_of(problem), [&](const cpu::Conv2dAlgorithm& algorithm, ThreadPool& pool,
                                        void* memory) {
    const cpu::Conv2dShape shape = shape_of(problem);
    if (forward) {
      algorithm.forward(pool, memory, shape, values.data(), widened(x).data(), widened(w).data(),
                        widened(bias).data());
    } else if (problem.kind == ConvKind::kBackwardInput) {
      algorithm.backward_input(pool, memory, shape, values.data(), widened(y).data(),
                               widened(w).data());
    } else {
      std::vector<float> unused(static_cast<std::size_t>(problem.o));
      algorithm.backward_weight(pool, memory, shape, values.data(), unused.data(),
                                widened(y).data(), widened(x).data(), GradientMode::kOverwrite);
    }
  });
  narrow(result, values,
         problem.kind == ConvKind::kForwardRelu ? Activation::kRelu : Activation::kNone);
}

constexpr std::int64_t kWorkspaceBytes = 1000;

}  // namespace

std::int64_t library_workspace_bytes(const ConvProblem&, const Target&) {
  return kWorkspaceBytes;
}

void run_convolution(Context& context, const ConvProblem& problem, const ConvOperands& operands) {
  const ConvTensors tensors(problem, operands, context.device());
  enqueue(context, [=] {
    // As the library may: what another part of the workspace holds must survive.
    std::memset(operands.workspace, 0xff, kWorkspaceBytes);
    compute(problem, tensors);
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
