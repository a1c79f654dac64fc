// The operations without CUDA. No context on a GPU can be made in such a build, so none of these is
// ever reached; what is asked before there is a context says what is missing.
#include "core/error.h"
#include "kernels/cuda/conv2d.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/versions.h"

namespace stagecoach::cuda {
namespace {

[[noreturn]] void refuse() {
  throw Error("an operation on a GPU", "a build with CUDA (the preset cuda)",
              "this build has no CUDA", "use --device cpu");
}

}  // namespace

std::vector<std::pair<std::string, std::string>> library_versions() {
  return {};
}

// clang-format off: a table
void check_target(const Target&) {
  refuse();
}
void begin_step(Context&, const StepValues&) {
  refuse();
}
void relu_forward(Context&, Tensor, Tensor) {
  refuse();
}
void relu_backward(Context&, Tensor, Tensor, Tensor) {
  refuse();
}
void max_pool2d_forward(Context&, Tensor, Tensor, Tensor, const MaxPool2dOptions&, MaxPool2dInput) {
  refuse();
}
void max_pool2d_backward(Context&, Tensor, Tensor, Tensor, const MaxPool2dOptions&) {
  refuse();
}
void adaptive_avg_pool2d_forward(Context&, Tensor, Tensor) {
  refuse();
}
void adaptive_avg_pool2d_backward(Context&, Tensor, Tensor) {
  refuse();
}
void dropout(Context&, Tensor, Tensor, const DropoutMask&) {
  refuse();
}
void softmax_cross_entropy(Context&, Tensor, Tensor, Tensor, Tensor, Tensor, float) {
  refuse();
}
void add(Context&, Tensor, Tensor, Tensor) {
  refuse();
}
void batch_norm2d_statistics(Context&, Tensor, Tensor, Tensor, double*) {
  refuse();
}
void batch_norm2d_forward(Context&, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, float) {
  refuse();
}
void batch_norm2d_backward_input(Context&, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, float,
                                 double*) {
  refuse();
}
void batch_norm2d_backward_weight(Context&, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, float,
                                  GradientMode, double*) {
  refuse();
}
void batch_norm2d_update(Context&, Tensor, Tensor, Tensor, Tensor, std::int64_t, float) {
  refuse();
}
void mean_squared_error(Context&, Tensor, Tensor, Tensor, Tensor, float) {
  refuse();
}
void raise_unless_finite(Context&, Tensor) {
  refuse();
}
void sgd_step(Context&, Tensor, Tensor, Tensor, Tensor, const SgdOptions&) {
  refuse();
}
void adam_step(Context&, Tensor, Tensor, Tensor, Tensor, Tensor, const AdamOptions&) {
  refuse();
}
void permute_format(Context&, Tensor, Tensor) {
  refuse();
}
void fill_uniform(Context&, Tensor, float, const RandomStream&) {
  refuse();
}
void cast(Context&, Tensor, Tensor) {
  refuse();
}
void transform_samples(Context&, Tensor, Tensor, const ResidentImages&, Tensor) {
  refuse();
}
std::int64_t conv2d_workspace_bytes(const TensorSpec&, const TensorSpec&, const Conv2dOptions&,
                                    const Target&) {
  refuse();
}
void conv2d_forward(Context&, Tensor, Tensor, Tensor, Tensor, const Conv2dOptions&, Activation) {
  refuse();
}
void conv2d_backward_input(Context&, Tensor, Tensor, Tensor, const Conv2dOptions&) {
  refuse();
}
void conv2d_backward_weight(Context&, Tensor, Tensor, Tensor, Tensor, const Conv2dOptions&,
                            GradientMode) {
  refuse();
}
std::int64_t linear_workspace_bytes(const TensorSpec&, const TensorSpec&, const Target&) {
  refuse();
}
void linear_forward(Context&, Tensor, Tensor, Tensor, Tensor, Activation) {
  refuse();
}
void linear_backward_input(Context&, Tensor, Tensor, Tensor) {
  refuse();
}
void linear_backward_weight(Context&, Tensor, Tensor, Tensor, Tensor, GradientMode) {
  refuse();
}
// clang-format on

}  // namespace stagecoach::cuda
