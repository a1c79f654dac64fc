#include "kernels/batch_norm2d.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace stagecoach {
namespace {

constexpr const char* kName = "batch_norm2d";

// Of one call: its x, and [C] in F32 and in the dtype of x.
struct Specs {
  Specs(const Context& context, const TensorSpec& images) : x(images) {
    check_floating(kName, "x", context, x);
    STAGECOACH_CHECK(
        x.shape.rank() == 4 && x.format == MemoryFormat::kChannelsLast && x.elements() > 0, kName,
        "x channels_last of rank 4, not empty", x.to_string());
    channel = row_major({x.shape[1]});
    parameter = row_major({x.shape[1]}, x.dtype);
  }
  TensorSpec x, channel, parameter;
};

double* workspace_for(const Context& context, const TensorSpec& x) {
  return static_cast<double*>(context.workspace(kName, batch_norm2d_workspace_bytes(x)));
}

void check_statistics(const Context& context, const Specs& specs, const Tensor& x,
                      const Tensor& mean, const Tensor& variance) {
  check_tensor(context, kName, "x", x, specs.x);
  check_tensor(context, kName, "mean", mean, specs.channel);
  check_tensor(context, kName, "variance", variance, specs.channel);
}

}  // namespace

std::int64_t batch_norm2d_workspace_bytes(const TensorSpec& x) {
  const std::int64_t channels = x.shape[1], pixels = x.elements() / channels;
  const std::int64_t pieces = (pixels + kBatchNormPixels - 1) / kBatchNormPixels;
  return 2 * (pieces + 1) * channels * static_cast<std::int64_t>(sizeof(double));
}

void batch_norm2d_statistics(Context& context, Tensor mean, Tensor variance, Tensor x) {
  const Specs specs(context, x.spec);
  check_statistics(context, specs, x, mean, variance);
  double* sums = workspace_for(context, x.spec);
  backend_of(context).batch_norm2d_statistics(context, mean, variance, x, sums);
}

void batch_norm2d_forward(Context& context, Tensor y, Tensor x, Tensor mean, Tensor variance,
                          Tensor weight, Tensor bias, float eps) {
  const Specs specs(context, x.spec);
  check_statistics(context, specs, x, mean, variance);
  check_tensor(context, kName, "y", y, specs.x);
  check_tensor(context, kName, "weight", weight, specs.parameter);
  check_tensor(context, kName, "bias", bias, specs.parameter);
  backend_of(context).batch_norm2d_forward(context, y, x, mean, variance, weight, bias, eps);
}

void batch_norm2d_backward_input(Context& context, Tensor x_grad, Tensor y_grad, Tensor x,
                                 Tensor mean, Tensor variance, Tensor weight, float eps) {
  const Specs specs(context, x.spec);
  check_statistics(context, specs, x, mean, variance);
  check_tensor(context, kName, "x_grad", x_grad, specs.x);
  check_tensor(context, kName, "y_grad", y_grad, specs.x);
  check_tensor(context, kName, "weight", weight, specs.parameter);
  double* sums = workspace_for(context, x.spec);
  backend_of(context).batch_norm2d_backward_input(context, x_grad, y_grad, x, mean, variance,
                                                  weight, eps, sums);
}

void batch_norm2d_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                                  Tensor y_grad, Tensor x, Tensor mean, Tensor variance, float eps,
                                  GradientMode mode) {
  const Specs specs(context, x.spec);
  check_statistics(context, specs, x, mean, variance);
  check_tensor(context, kName, "weight_grad", weight_grad, specs.channel);
  check_tensor(context, kName, "bias_grad", bias_grad, specs.channel);
  check_tensor(context, kName, "y_grad", y_grad, specs.x);
  double* sums = workspace_for(context, x.spec);
  backend_of(context).batch_norm2d_backward_weight(context, weight_grad, bias_grad, y_grad, x, mean,
                                                   variance, eps, mode, sums);
}

void batch_norm2d_update(Context& context, Tensor running_mean, Tensor running_variance,
                         Tensor means, Tensor variances, std::int64_t values, float momentum) {
  STAGECOACH_CHECK(means.shape().rank() == 2 && means.shape()[0] >= 1 && values >= 1, kName,
                   "means [M, C] of at least one value",
                   fmt::format("{} of {} values", means.spec.to_string(), values));
  const TensorSpec channel = row_major({means.shape()[1]});
  check_tensor(context, kName, "means", means, row_major(means.shape()));
  check_tensor(context, kName, "variances", variances, row_major(means.shape()));
  check_tensor(context, kName, "running_mean", running_mean, channel);
  check_tensor(context, kName, "running_variance", running_variance, channel);
  backend_of(context).batch_norm2d_update(context, running_mean, running_variance, means, variances,
                                          values, momentum);
}

}  // namespace stagecoach
