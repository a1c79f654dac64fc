#include "bench/fused_gradients.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <utility>

namespace stagecoach::cuda {
namespace {

CudnnDescriptor sum(const CudnnDescriptor& from, const CudnnDescriptor& to) {
  const cudnnReduceTensorOp_t add = CUDNN_REDUCE_TENSOR_ADD;
  const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  CudnnDescriptor what(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  what.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, &add);
  what.set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, &compute);
  what.finalize();
  CudnnDescriptor result(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
  result.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, what);
  result.set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, from);
  result.set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, to);
  result.finalize();
  return result;
}

CudnnDescriptor tensor(ConvTensor id, DType dtype, const CudnnDims& dims) {
  return cudnn_tensor(static_cast<std::int64_t>(id), dtype, dims);
}

CudnnDescriptor tensor(GradientTensor id, DType dtype, const CudnnDims& dims) {
  return cudnn_tensor(static_cast<std::int64_t>(id), dtype, dims);
}

template <typename T>
bool has(const std::vector<T>& values, T value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

}  // namespace

CudnnDescriptor gradient_graph(GradientGraph kind, const ConvProblem& problem,
                               cudnnHandle_t handle) {
  constexpr std::int64_t kProductId = 101;
  const CudnnDims x_dims = {problem.n, problem.c, problem.h, problem.w};
  const CudnnDims w_dims = {problem.o, problem.c, problem.kh, problem.kw};
  const DType dtype = problem.dtype();
  const bool wide = kind == GradientGraph::kWideWeight;
  const CudnnDescriptor x = tensor(ConvTensor::kX, dtype, x_dims);
  const CudnnDescriptor w = tensor(ConvTensor::kW, wide ? DType::kF32 : dtype, w_dims);
  const CudnnDescriptor y =
      tensor(ConvTensor::kY, dtype, {problem.n, problem.o, problem.out_h(), problem.out_w()});
  const CudnnDescriptor product =
      cudnn_tensor(kProductId, DType::kF32, wide ? w_dims : x_dims, CudnnMemory::kVirtual);
  std::vector<CudnnDescriptor> operations;
  if (wide) {
    // cuDNN's heuristics know no engine for the gradient alone, but one with an operation behind
    // it.
    operations.push_back(cudnn_convolution(problem, x, product, y));
    operations.push_back(
        cudnn_pointwise(CUDNN_POINTWISE_IDENTITY, {{CUDNN_ATTR_OPERATION_POINTWISE_XDESC, product},
                                                   {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, w}}));
    return cudnn_graph(operations, handle);
  }
  const CudnnDescriptor output = tensor(GradientTensor::kReluOutput, dtype, x_dims);
  operations.push_back(cudnn_convolution(problem, product, w, y));
  operations.push_back(
      cudnn_pointwise(CUDNN_POINTWISE_RELU_BWD, {{CUDNN_ATTR_OPERATION_POINTWISE_XDESC, output},
                                                 {CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, product},
                                                 {CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, x}}));
  if (kind == GradientGraph::kReluAndBias) {
    operations.push_back(
        sum(x, tensor(GradientTensor::kBiasGrad, DType::kF32, {1, problem.c, 1, 1})));
  }
  return cudnn_graph(operations, handle);
}

std::string EngineNotes::to_string() const {
  return fmt::format("engine {}{}{}{}", engine, compiled ? ", compiled at run time" : "",
                     tensor_cores ? ", tensor cores" : "",
                     deterministic ? "" : ", sums in no fixed order");
}

EngineNotes notes_of(const CudnnDescriptor& config) {
  const std::vector<CudnnDescriptor> engines =
      config.get_descriptors(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  const CudnnDescriptor& engine = engines.at(0);
  const auto numerical = engine.get_all<cudnnBackendNumericalNote_t>(
      CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE);
  const auto behavior = engine.get_all<cudnnBackendBehaviorNote_t>(CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE,
                                                                   CUDNN_TYPE_BEHAVIOR_NOTE);
  return {.engine = engine.get_int64(CUDNN_ATTR_ENGINE_GLOBAL_INDEX),
          .compiled = has(behavior, CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION),
          .tensor_cores = has(numerical, CUDNN_NUMERICAL_NOTE_TENSOR_CORE),
          .deterministic = !has(numerical, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)};
}

std::int64_t engine_count(const CudnnDescriptor& graph) {
  return graph.get_int64(CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT);
}

std::optional<CudnnDescriptor> default_config(const CudnnDevice& device,
                                              const CudnnDescriptor& graph, std::int64_t engine) {
  CudnnDescriptor made(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  made.set(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph);
  made.set(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, engine);
  device.describe_to(made, CUDNN_ATTR_ENGINE_DEVICEPROP);
  if (!made.try_finalize()) return std::nullopt;
  CudnnDescriptor config(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  config.set(CUDNN_ATTR_ENGINECFG_ENGINE, made);
  if (!config.try_finalize()) return std::nullopt;
  return config;
}

std::vector<CudnnDescriptor> configs_to_try(const CudnnDevice& device, const CudnnDescriptor& graph,
                                            std::size_t most) {
  std::vector<CudnnDescriptor> chosen = configurations(device, graph, CUDNN_HEUR_MODE_A);
  while (chosen.size() > std::min<std::size_t>(most, 2)) chosen.pop_back();
  std::vector<std::int64_t> engines;
  for (const CudnnDescriptor& config : chosen) engines.push_back(notes_of(config).engine);
  for (std::int64_t engine = 0; engine < engine_count(graph) && chosen.size() < most; ++engine) {
    if (has(engines, engine)) continue;
    if (auto config = default_config(device, graph, engine)) chosen.push_back(std::move(*config));
  }
  return chosen;
}

}  // namespace stagecoach::cuda
