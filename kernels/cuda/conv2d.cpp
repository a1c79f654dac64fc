#include "kernels/conv2d.h"

#include <algorithm>

#include "core/buffer.h"
#include "core/error.h"
#include "kernels/cast.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/conv2d_library.h"
#include "kernels/cuda/conv2d_packing.h"
#include "kernels/cuda/operations.h"

namespace stagecoach::cuda {
namespace {

ConvProblem problem_of(ConvKind kind, const TensorSpec& input, const TensorSpec& weight,
                       const Conv2dOptions& options, const Target& target) {
  const ConvProblem problem{.kind = kind,
                            .precision = target.precision,
                            .deterministic = target.deterministic,
                            .n = input.shape[0],
                            .c = input.shape[1],
                            .h = input.shape[2],
                            .w = input.shape[3],
                            .o = weight.shape[0],
                            .kh = weight.shape[2],
                            .kw = weight.shape[3],
                            .stride_h = options.stride_h,
                            .stride_w = options.stride_w,
                            .padding_h = options.padding_h,
                            .padding_w = options.padding_w};
  STAGECOACH_CHECK(input.dtype == problem.dtype(), "conv2d",
                   fmt::format("{} tensors, as the target computes in {}", name_of(problem.dtype()),
                               name_of(target.precision)),
                   input.to_string());
  return problem;
}

TensorSpec input_of(const ConvProblem& problem) {
  return channels_last(problem.n, problem.c, problem.h, problem.w, problem.dtype());
}

TensorSpec weight_of(const ConvProblem& problem, DType dtype) {
  return channels_last(problem.o, problem.c, problem.kh, problem.kw, dtype);
}

// How one of the operations is computed, and where its parts lie in the context's workspace, one
// after another. A part that is not needed has no bytes.
struct Layout {
  Layout(ConvKind kind, const TensorSpec& input_spec, const TensorSpec& weight_spec,
         const Conv2dOptions& options, const Target& target)
      : given(problem_of(kind, input_spec, weight_spec, options, target)), run(given) {
    // The gradient of the input is computed as it is: that of an image is needed by nobody.
    if (kind != ConvKind::kBackwardInput) {
      run = packed_problem(given);
      block = packing_block(given);
    }
    packs = block > 0;
    if (packs) input = add(input_of(run).bytes());
    if (kind == ConvKind::kBackwardWeight) {
      grad = add(weight_of(run, run.dtype()).bytes());
      if (run.dtype() != DType::kF32) wide_grad = add(weight_of(run, DType::kF32).bytes());
      bias = add(bias_grad_workspace_bytes(run.n * run.out_h() * run.out_w(), run.o));
    } else if (packs) {
      weight = add(weight_of(run, run.dtype()).bytes());
    }
    library = add(library_workspace_bytes(run, target));
  }

  ConvProblem given, run;
  std::int64_t block = 0;
  bool packs = false;          // input and weight
  std::int64_t input = 0;      // the packed input
  std::int64_t weight = 0;     // the packed weight
  std::int64_t grad = 0;       // the gradient of the weight that the library writes
  std::int64_t wide_grad = 0;  // the same in F32
  std::int64_t bias = 0;       // of the kernel for the gradient of the bias
  std::int64_t library = 0;
  std::int64_t bytes = 0;  // of all

 private:
  std::int64_t add(std::int64_t part_bytes) {
    constexpr std::int64_t kAlignment = Buffer::kAlignment;
    const std::int64_t offset = bytes;
    bytes += (part_bytes + kAlignment - 1) / kAlignment * kAlignment;
    return offset;
  }
};

// One operation's workspace, and views of its parts.
class Workspace {
 public:
  Workspace(Context& context, const char* operation, const Layout& layout)
      : memory_(static_cast<std::byte*>(context.workspace(operation, layout.bytes))),
        device_(context.device()) {}

  void* at(std::int64_t offset) const { return memory_ + offset; }
  Tensor view(std::int64_t offset, const TensorSpec& spec) const {
    return {at(offset), spec, device_};
  }

 private:
  std::byte* memory_;
  Device device_;
};

Tensor packed_input(Context& context, const Layout& layout, const Workspace& workspace,
                    const Tensor& input) {
  if (!layout.packs) return input;
  const Tensor packed = workspace.view(layout.input, input_of(layout.run));
  // What the packed convolution does not pad is part of its input.
  const std::int64_t padding = layout.given.padding_h - layout.run.padding_h;
  space_to_depth(context, packed, input, {.block = layout.block, .padding = padding});
  return packed;
}

Tensor packed_weight(Context& context, const Layout& layout, const Workspace& workspace,
                     const Tensor& weight) {
  if (!layout.packs) return weight;
  const Tensor packed = workspace.view(layout.weight, weight_of(layout.run, layout.run.dtype()));
  space_to_depth(context, packed, weight, {.block = layout.block});
  return packed;
}

// weight_grad, from what the library wrote.
void finish_weight_grad(Context& context, const Layout& layout, const Workspace& workspace,
                        const Tensor& weight_grad, Tensor made, GradientMode mode) {
  if (made.data == weight_grad.data) return;
  if (made.spec.dtype != DType::kF32) {
    const bool last = !layout.packs && mode == GradientMode::kOverwrite;
    const Tensor wide =
        last ? weight_grad : workspace.view(layout.wide_grad, weight_of(layout.run, DType::kF32));
    stagecoach::cast(context, wide, made);
    if (last) return;
    made = wide;
  }
  if (layout.packs) {
    depth_to_space(context, weight_grad, made, {.block = layout.block}, mode);
  } else {
    accumulate(context, weight_grad, made);
  }
}

}  // namespace

std::int64_t CudaBackend::conv2d_workspace_bytes(const TensorSpec& input, const TensorSpec& weight,
                                                 const Conv2dOptions& options,
                                                 const Target& target) const {
  std::int64_t bytes = 0;
  for (const ConvKind kind : {ConvKind::kForward, ConvKind::kForwardRelu, ConvKind::kBackwardInput,
                              ConvKind::kBackwardWeight}) {
    const Layout layout(kind, input, weight, options, target);
    bytes = std::max(bytes, layout.bytes);
  }
  return bytes;
}

void CudaBackend::conv2d_forward(Context& context, Tensor output, Tensor input, Tensor weight,
                                 Tensor bias, const Conv2dOptions& options, Activation activation,
                                 Tensor) const {
  const ConvKind kind =
      activation == Activation::kRelu ? ConvKind::kForwardRelu : ConvKind::kForward;
  const Layout layout(kind, input.spec, weight.spec, options, context.target());
  const Workspace workspace(context, "conv2d_forward", layout);
  const Tensor x = packed_input(context, layout, workspace, input);
  const Tensor w = packed_weight(context, layout, workspace, weight);
  run_convolution(context, layout.run,
                  {.x = x.data,
                   .w = w.data,
                   .y = output.data,
                   .bias = bias.data,
                   .workspace = workspace.at(layout.library)});
}

void CudaBackend::conv2d_backward_input(Context& context, Tensor input_grad, Tensor output_grad,
                                        Tensor weight, const Conv2dOptions& options, Tensor) const {
  const Layout layout(ConvKind::kBackwardInput, input_grad.spec, weight.spec, options,
                      context.target());
  const Workspace workspace(context, "conv2d_backward_input", layout);
  run_convolution(context, layout.run,
                  {.x = input_grad.data,
                   .w = weight.data,
                   .y = output_grad.data,
                   .workspace = workspace.at(layout.library)});
}

void CudaBackend::conv2d_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                                         Tensor output_grad, Tensor input,
                                         const Conv2dOptions& options, GradientMode mode,
                                         Tensor) const {
  const Layout layout(ConvKind::kBackwardWeight, input.spec, weight_grad.spec, options,
                      context.target());
  const Workspace workspace(context, "conv2d_backward_weight", layout);
  const Tensor x = packed_input(context, layout, workspace, input);
  const bool direct =
      !layout.packs && layout.run.dtype() == DType::kF32 && mode == GradientMode::kOverwrite;
  const Tensor made =
      direct ? weight_grad : workspace.view(layout.grad, weight_of(layout.run, layout.run.dtype()));
  run_convolution(context, layout.run,
                  {.x = x.data,
                   .w = made.data,
                   .y = output_grad.data,
                   .workspace = workspace.at(layout.library)});
  finish_weight_grad(context, layout, workspace, weight_grad, made, mode);
  cuda::bias_grad(context, bias_grad, output_grad, mode, workspace.at(layout.bias));
}

}  // namespace stagecoach::cuda
