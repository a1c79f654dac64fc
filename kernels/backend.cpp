#include "kernels/backend.h"

#include <array>
#include <utility>

#include "core/error.h"
#include "kernels/cpu/backend.h"

namespace stagecoach {
namespace {

// Of a kind of device that this program has no backend for.
class Missing final : public Backend {
 public:
  explicit constexpr Missing(DeviceType type) : type_(type) {}

 private:
  Lack lack() const override { return device_backend(type_).lack(); }
  DeviceType type_;
};

template <std::size_t... kTypes>
std::array<Missing, kDeviceTypes> missing_backends(std::index_sequence<kTypes...>) {
  return {Missing(static_cast<DeviceType>(kTypes))...};
}

// Filled before and during static initialisation.
constinit const Backend* backends[kDeviceTypes] = {&cpu::kBackend};

const Backend*& slot_of(DeviceType type) {
  const auto index = static_cast<std::size_t>(type);
  STAGECOACH_CHECK(index < kDeviceTypes, "backend_of", "a kind of device",
                   fmt::format("number {}", index));
  return backends[index];
}

}  // namespace

const Backend& backend_of(DeviceType type) {
  const Backend* backend = slot_of(type);
  if (backend != nullptr) [[likely]] {
    return *backend;
  }
  static const auto missing = missing_backends(std::make_index_sequence<kDeviceTypes>());
  return missing[static_cast<std::size_t>(type)];
}

bool register_backend(DeviceType type, const Backend& backend) {
  slot_of(type) = &backend;
  return true;
}

void check_floating(const char* operation, const char* name, const Context& context,
                    const TensorSpec& spec) {
  const bool bf16 = backend_of(context).computes_bf16();
  STAGECOACH_CHECK(spec.dtype == DType::kF32 || (bf16 && spec.dtype == DType::kBF16), operation,
                   fmt::format("{} F32{}", name, bf16 ? " or BF16" : ""), spec.to_string());
}

Lack Backend::lack() const {
  return {"a backend with this operation", "one without", ""};
}

void Backend::refuse(const char* operation) const {
  const Lack why = lack();
  throw Error(operation, why.expected, why.got, why.hint);
}

void Backend::check_target(const Target&) const {
  refuse("check_target");
}
void Backend::begin_step(Context&, const StepValues&) const {
  refuse("begin_step");
}
void Backend::relu_forward(Context&, Tensor, Tensor) const {
  refuse("relu_forward");
}
void Backend::relu_backward(Context&, Tensor, Tensor, Tensor) const {
  refuse("relu_backward");
}
void Backend::max_pool2d_forward(Context&, Tensor, Tensor, Tensor, const MaxPool2dOptions&,
                                 MaxPool2dInput) const {
  refuse("max_pool2d_forward");
}
void Backend::max_pool2d_backward(Context&, Tensor, Tensor, Tensor, const MaxPool2dOptions&) const {
  refuse("max_pool2d_backward");
}
void Backend::adaptive_avg_pool2d_forward(Context&, Tensor, Tensor) const {
  refuse("adaptive_avg_pool2d_forward");
}
void Backend::adaptive_avg_pool2d_backward(Context&, Tensor, Tensor) const {
  refuse("adaptive_avg_pool2d_backward");
}
std::int64_t Backend::conv2d_workspace_bytes(const TensorSpec&, const TensorSpec&,
                                             const Conv2dOptions&, const Target&) const {
  refuse("conv2d_workspace_bytes");
}
Conv2dStep Backend::conv2d_step(const TensorSpec&, const TensorSpec&, const Conv2dOptions&,
                                const Target&) const {
  const TensorSpec none = row_major({0});
  return {none, none, none};
}
void Backend::conv2d_prepare(Context&, Tensor, Tensor, const TensorSpec&, Tensor,
                             const Conv2dOptions&) const {
  refuse("conv2d_prepare");
}
void Backend::conv2d_finish_weight(Context&, Tensor, Tensor, const TensorSpec&,
                                   const Conv2dOptions&) const {
  refuse("conv2d_finish_weight");
}
void Backend::conv2d_forward(Context&, Tensor, Tensor, Tensor, Tensor, const Conv2dOptions&,
                             Activation, Tensor) const {
  refuse("conv2d_forward");
}
void Backend::conv2d_backward_input(Context&, Tensor, Tensor, Tensor, const Conv2dOptions&,
                                    Tensor) const {
  refuse("conv2d_backward_input");
}
void Backend::conv2d_backward_weight(Context&, Tensor, Tensor, Tensor, Tensor, const Conv2dOptions&,
                                     GradientMode, Tensor) const {
  refuse("conv2d_backward_weight");
}
std::int64_t Backend::linear_workspace_bytes(const TensorSpec&, const TensorSpec&,
                                             const Target&) const {
  refuse("linear_workspace_bytes");
}
void Backend::linear_forward(Context&, Tensor, Tensor, Tensor, Tensor, Activation) const {
  refuse("linear_forward");
}
void Backend::linear_backward_input(Context&, Tensor, Tensor, Tensor) const {
  refuse("linear_backward_input");
}
void Backend::linear_backward_weight(Context&, Tensor, Tensor, Tensor, Tensor, GradientMode) const {
  refuse("linear_backward_weight");
}
void Backend::dropout(Context&, Tensor, Tensor, const DropoutMask&) const {
  refuse("dropout");
}
void Backend::add(Context&, Tensor, Tensor, Tensor) const {
  refuse("add");
}
void Backend::batch_norm2d_statistics(Context&, Tensor, Tensor, Tensor, double*) const {
  refuse("batch_norm2d_statistics");
}
void Backend::batch_norm2d_forward(Context&, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                                   float) const {
  refuse("batch_norm2d_forward");
}
void Backend::batch_norm2d_backward_input(Context&, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                                          float, double*) const {
  refuse("batch_norm2d_backward_input");
}
void Backend::batch_norm2d_backward_weight(Context&, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                                           float, GradientMode, double*) const {
  refuse("batch_norm2d_backward_weight");
}
void Backend::batch_norm2d_update(Context&, Tensor, Tensor, Tensor, Tensor, std::int64_t,
                                  float) const {
  refuse("batch_norm2d_update");
}
void Backend::softmax_cross_entropy(Context&, Tensor, Tensor, Tensor, Tensor, Tensor, float,
                                    std::int64_t, float) const {
  refuse("softmax_cross_entropy");
}
void Backend::mean_squared_error(Context&, Tensor, Tensor, Tensor, Tensor, float,
                                 std::int64_t) const {
  refuse("mean_squared_error");
}
void Backend::raise_unless_finite(Context&, Tensor) const {
  refuse("raise_unless_finite");
}
void Backend::sum_of_squares(Context&, double*, Tensor, void*) const {
  refuse("sum_of_squares");
}
void Backend::clip_gradients(Context&, Tensor, std::span<const double>, double, double*) const {
  refuse("clip_gradients");
}
void Backend::sgd_step(Context&, Tensor, Tensor, Tensor, Tensor, const SgdOptions&) const {
  refuse("sgd_step");
}
void Backend::adam_step(Context&, Tensor, Tensor, Tensor, Tensor, Tensor,
                        const AdamOptions&) const {
  refuse("adam_step");
}
void Backend::permute_format(Context&, Tensor, Tensor) const {
  refuse("permute_format");
}
void Backend::fill_uniform(Context&, Tensor, float, const RandomStream&) const {
  refuse("fill_uniform");
}
void Backend::cast(Context&, Tensor, Tensor) const {
  refuse("cast");
}
void Backend::transform_images(Context&, Tensor, Tensor, std::span<const ImageCrop>,
                               const ImageTransform&) const {
  refuse("transform_images");
}
void Backend::transform_samples(Context&, Tensor, Tensor, const ResidentImages&, Tensor) const {
  refuse("transform_samples");
}

}  // namespace stagecoach
