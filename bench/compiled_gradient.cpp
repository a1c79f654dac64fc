#include "bench/compiled_gradient.h"

#include <array>
#include <chrono>

#include "core/cuda/runtime.h"
#include "core/error.h"

namespace stagecoach::cuda {
namespace {

std::string last_error() {
  std::array<char, 512> text{};
  cudnn().get_last_error_string(text.data(), text.size());
  return text.data();
}

}  // namespace

CompiledGradient::CompiledGradient(Context& context, GradientGraph kind, const ConvProblem& problem,
                                   std::size_t candidate)
    : kind_(kind) {
  use(context.device());
  cudnnHandle_t handle = nullptr;
  STAGECOACH_CUDNN_CHECK(cudnn().create(&handle));
  handle_.reset(handle, cudnn().destroy);
  STAGECOACH_CUDNN_CHECK(cudnn().set_stream(handle, native_stream(context)));
  const CudnnDevice device(handle, "", 0);
  const CudnnDescriptor graph = gradient_graph(kind, problem, handle);
  const std::vector<CudnnDescriptor> configs = configs_to_try(device, graph, candidate + 1);
  STAGECOACH_CHECK(candidate < configs.size(), "cuDNN",
                   fmt::format("{} configurations for {}", candidate + 1, problem.key()),
                   fmt::format("{}", configs.size()));
  notes_ = notes_of(configs[candidate]);
  const auto begin = std::chrono::steady_clock::now();
  plan_ = finalized_plan(device, configs[candidate]);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  compile_seconds_ = seconds.count();
  STAGECOACH_CHECK(plan_.has_value(), "cuDNN", "a plan of " + notes_.to_string(), last_error());
}

std::int64_t CompiledGradient::workspace_bytes() const {
  return plan_->get_int64(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
}

void CompiledGradient::run(const GradientOperands& operands) {
  std::vector<void*> pointers = {operands.x, operands.w, operands.y};
  std::vector<std::int64_t> ids = {static_cast<std::int64_t>(ConvTensor::kX),
                                   static_cast<std::int64_t>(ConvTensor::kW),
                                   static_cast<std::int64_t>(ConvTensor::kY)};
  if (kind_ != GradientGraph::kWideWeight) {
    pointers.push_back(operands.relu_output);
    ids.push_back(static_cast<std::int64_t>(GradientTensor::kReluOutput));
  }
  if (kind_ == GradientGraph::kReluAndBias) {
    pointers.push_back(operands.bias_grad);
    ids.push_back(static_cast<std::int64_t>(GradientTensor::kBiasGrad));
  }
  const CudnnDescriptor pack = cudnn_variant_pack(ids, pointers, operands.workspace);
  STAGECOACH_CUDNN_CHECK(cudnn().execute(handle_.get(), plan_->raw(), pack.raw()));
}

}  // namespace stagecoach::cuda
