#include "kernels/cuda/cudnn_graph.h"

#include <algorithm>
#include <array>
#include <utility>

namespace stagecoach::cuda {

CudnnDescriptor::CudnnDescriptor(cudnnBackendDescriptorType_t type) {
  STAGECOACH_CUDNN_CHECK(cudnn().create_descriptor(type, &raw_));
}

CudnnDescriptor::~CudnnDescriptor() {
  if (raw_ != nullptr) cudnn().destroy_descriptor(raw_);
}

CudnnDescriptor::CudnnDescriptor(CudnnDescriptor&& other) noexcept
    : raw_(std::exchange(other.raw_, nullptr)) {}

CudnnDescriptor& CudnnDescriptor::operator=(CudnnDescriptor&& other) noexcept {
  std::swap(raw_, other.raw_);
  return *this;
}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                          const void* values, std::int64_t count) {
  STAGECOACH_CUDNN_CHECK(cudnn().set_attribute(raw_, name, type, count, values));
}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name, std::int64_t value) {
  set(name, CUDNN_TYPE_INT64, &value);
}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name, std::span<const std::int64_t> values) {
  set(name, CUDNN_TYPE_INT64, values.data(), static_cast<std::int64_t>(values.size()));
}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name, const CudnnDescriptor& value) {
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, &value.raw_);
}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name,
                          std::span<const CudnnDescriptor> values) {
  std::vector<cudnnBackendDescriptor_t> raw;
  for (const CudnnDescriptor& value : values) raw.push_back(value.raw_);
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, raw.data(), static_cast<std::int64_t>(raw.size()));
}

void CudnnDescriptor::finalize() {
  STAGECOACH_CUDNN_CHECK(cudnn().finalize(raw_));
}

bool CudnnDescriptor::try_finalize() {
  return cudnn().finalize(raw_) == CUDNN_STATUS_SUCCESS;
}

std::int64_t CudnnDescriptor::get_int64(cudnnBackendAttributeName_t name) const {
  std::int64_t value = 0;
  get(name, CUDNN_TYPE_INT64, 1, &value);
  return value;
}

std::vector<CudnnDescriptor> CudnnDescriptor::get_descriptors(
    cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type) const {
  // cuDNN copies into descriptors that the caller has made.
  std::vector<CudnnDescriptor> values;
  std::vector<cudnnBackendDescriptor_t> raw;
  // It says how many there are, but of knobs only once there is room for them.
  std::int64_t wanted = count(name, CUDNN_TYPE_BACKEND_DESCRIPTOR);
  if (wanted == 0) wanted = CUDNN_KNOB_TYPE_COUNTS;
  for (std::int64_t i = 0; i < wanted; ++i) raw.push_back(values.emplace_back(type).raw_);
  const std::int64_t written = get(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, wanted, raw.data());
  while (static_cast<std::int64_t>(values.size()) > written) values.pop_back();
  return values;
}

std::int64_t CudnnDescriptor::count(cudnnBackendAttributeName_t name,
                                    cudnnBackendAttributeType_t type) const {
  return get(name, type, 0, nullptr);
}

std::int64_t CudnnDescriptor::get(cudnnBackendAttributeName_t name,
                                  cudnnBackendAttributeType_t type, std::int64_t capacity,
                                  void* values) const {
  std::int64_t available = 0;
  STAGECOACH_CUDNN_CHECK(cudnn().get_attribute(raw_, name, type, capacity, &available, values));
  return capacity == 0 ? available : std::min(available, capacity);
}

namespace {

// [N, C, H, W] or [O, C, KH, KW], channels_last.
using CudnnDims = std::array<std::int64_t, 4>;
enum class CudnnMemory { kGiven, kVirtual };  // kVirtual: between fused operations, never written

CudnnDescriptor cudnn_tensor(std::int64_t id, DType dtype, const CudnnDims& dims,
                             CudnnMemory memory = CudnnMemory::kGiven) {
  const auto [n, c, h, w] = dims;
  const CudnnDims channels_last_strides = {h * w * c, 1, w * c, c};
  const cudnnDataType_t type = dtype == DType::kBF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
  const bool is_virtual = memory == CudnnMemory::kVirtual;
  CudnnDescriptor result(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  result.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, &type);
  result.set(CUDNN_ATTR_TENSOR_DIMENSIONS, dims);
  result.set(CUDNN_ATTR_TENSOR_STRIDES, channels_last_strides);
  result.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id);
  result.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, kConvAlignment);
  result.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, &is_virtual);
  result.finalize();
  return result;
}

CudnnDescriptor tensor(ConvTensor id, DType dtype, const CudnnDims& dims) {
  return cudnn_tensor(static_cast<std::int64_t>(id), dtype, dims);
}

CudnnDescriptor convolution(const ConvProblem& problem) {
  using Pair = std::array<std::int64_t, 2>;
  const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  const Pair padding = {problem.padding_h, problem.padding_w};
  CudnnDescriptor result(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  result.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, &compute);
  result.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, &mode);
  result.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 2);
  result.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, Pair{problem.stride_h, problem.stride_w});
  result.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, Pair{1, 1});
  result.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, padding);
  result.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, padding);
  result.finalize();
  return result;
}

// The names of the attributes of one of the three operations.
struct OperationNames {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t convolution, x, w, y, alpha, beta;
};

constexpr OperationNames kForwardNames = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                                          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                                          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                                          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                                          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                                          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                                          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
constexpr OperationNames kBackwardInputNames = {
    CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
constexpr OperationNames kBackwardWeightNames = {
    CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};

const OperationNames& names_of(ConvKind kind) {
  if (kind == ConvKind::kBackwardInput) return kBackwardInputNames;
  return kind == ConvKind::kBackwardWeight ? kBackwardWeightNames : kForwardNames;
}

// The convolution or gradient that `problem` names, without bias and ReLU.
CudnnDescriptor cudnn_convolution(const ConvProblem& problem, const CudnnDescriptor& x,
                                  const CudnnDescriptor& w, const CudnnDescriptor& y) {
  const OperationNames& names = names_of(problem.kind);
  const float one = 1, zero = 0;
  CudnnDescriptor result(names.type);
  result.set(names.convolution, convolution(problem));
  result.set(names.x, x);
  result.set(names.w, w);
  result.set(names.y, y);
  result.set(names.alpha, CUDNN_TYPE_FLOAT, &one);
  result.set(names.beta, CUDNN_TYPE_FLOAT, &zero);
  result.finalize();
  return result;
}

// `handle` null: for planning without a device.
CudnnDescriptor cudnn_graph(std::span<const CudnnDescriptor> operations, cudnnHandle_t handle) {
  CudnnDescriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operations);
  if (handle != nullptr) graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, &handle);
  graph.finalize();
  return graph;
}

// An operation on each element, in fp32; which tensor is which: {CUDNN_ATTR_..._XDESC, x}, ...
using CudnnOperand = std::pair<cudnnBackendAttributeName_t, const CudnnDescriptor&>;
CudnnDescriptor cudnn_pointwise(cudnnPointwiseMode_t mode,
                                std::initializer_list<CudnnOperand> operands) {
  const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  CudnnDescriptor what(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  what.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, &mode);
  what.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, &compute);
  what.finalize();
  CudnnDescriptor result(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  result.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, what);
  for (const auto& [name, tensor] : operands) result.set(name, tensor);
  result.finalize();
  return result;
}

// Convolution, bias and, where asked for, ReLU. Only y reaches memory.
std::vector<CudnnDescriptor> forward_operations(const ConvProblem& problem,
                                                const CudnnDescriptor& x, const CudnnDescriptor& w,
                                                const CudnnDescriptor& y, const CudnnDims& y_dims) {
  constexpr std::int64_t kProductId = 101, kBiasedId = 102;
  const bool relu = problem.kind == ConvKind::kForwardRelu;
  const CudnnDescriptor bias = tensor(ConvTensor::kBias, problem.dtype(), {1, problem.o, 1, 1});
  // Between the operations fp32, or the result would be rounded three times.
  const CudnnDescriptor product =
      cudnn_tensor(kProductId, DType::kF32, y_dims, CudnnMemory::kVirtual);
  const CudnnDescriptor biased =
      cudnn_tensor(kBiasedId, DType::kF32, y_dims, CudnnMemory::kVirtual);
  std::vector<CudnnDescriptor> operations;
  operations.push_back(cudnn_convolution(problem, x, w, product));
  operations.push_back(cudnn_pointwise(
      CUDNN_POINTWISE_ADD, {{CUDNN_ATTR_OPERATION_POINTWISE_XDESC, product},
                            {CUDNN_ATTR_OPERATION_POINTWISE_BDESC, bias},
                            {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, relu ? biased : y}}));
  if (!relu) return operations;
  operations.push_back(cudnn_pointwise(
      CUDNN_POINTWISE_RELU_FWD,
      {{CUDNN_ATTR_OPERATION_POINTWISE_XDESC, biased}, {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y}}));
  return operations;
}

}  // namespace

CudnnDescriptor cudnn_variant_pack(std::span<const std::int64_t> names,
                                   std::span<void* const> pointers, void* workspace) {
  CudnnDescriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, names);
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, pointers.data(),
           std::ssize(pointers));
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, &workspace);
  pack.finalize();
  return pack;
}

CudnnDescriptor convolution_graph(const ConvProblem& problem, cudnnHandle_t handle) {
  const CudnnDims y_dims = {problem.n, problem.o, problem.out_h(), problem.out_w()};
  const CudnnDescriptor x =
      tensor(ConvTensor::kX, problem.dtype(), {problem.n, problem.c, problem.h, problem.w});
  const CudnnDescriptor w =
      tensor(ConvTensor::kW, problem.dtype(), {problem.o, problem.c, problem.kh, problem.kw});
  const CudnnDescriptor y = tensor(ConvTensor::kY, problem.dtype(), y_dims);
  std::vector<CudnnDescriptor> operations;
  if (problem.kind == ConvKind::kBackwardWeight || problem.kind == ConvKind::kBackwardInput) {
    operations.push_back(cudnn_convolution(problem, x, w, y));
  } else {
    operations = forward_operations(problem, x, w, y, y_dims);
  }
  return cudnn_graph(operations, handle);
}

}  // namespace stagecoach::cuda
