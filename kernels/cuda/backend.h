// The CUDA backend: the convolutions by cuDNN, the linear layers by cuBLASLt, the rest by own
// kernels. Activations and their gradients are F32 or BF16, all of one call alike; sums are made in
// fp32, in an order that only the sizes decide.
//
// A convolution's tensors are of the dtype that the target's precision asks for. With BF16, cuDNN
// sums the gradient of a weight over one call in fp32 and then rounds it to BF16; it is added to
// weight_grad in F32. The first call with its sizes on a context makes a plan, which a capture does
// not allow.
#pragma once

#include "kernels/backend.h"

namespace stagecoach::cuda {

class CudaBackend final : public Backend {
 public:
  bool computes_bf16() const override { return true; }
  std::vector<std::pair<std::string, std::string>> library_versions() const override;
  void check_target(const Target& target) const override;
  void open_libraries(Context& context) const override;
  void begin_step(Context& context, const StepValues& values) const override;
  void relu_forward(Context& context, Tensor output, Tensor input) const override;
  void relu_backward(Context& context, Tensor input_grad, Tensor output_grad,
                     Tensor output) const override;
  void max_pool2d_forward(Context& context, Tensor output, Tensor index, Tensor input,
                          const MaxPool2dOptions& options, MaxPool2dInput kind) const override;
  void max_pool2d_backward(Context& context, Tensor input_grad, Tensor output_grad, Tensor index,
                           const MaxPool2dOptions& options) const override;
  void adaptive_avg_pool2d_forward(Context& context, Tensor output, Tensor input) const override;
  void adaptive_avg_pool2d_backward(Context& context, Tensor input_grad,
                                    Tensor output_grad) const override;
  std::int64_t conv2d_workspace_bytes(const TensorSpec& input, const TensorSpec& weight,
                                      const Conv2dOptions& options,
                                      const Target& target) const override;
  void conv2d_forward(Context& context, Tensor output, Tensor input, Tensor weight, Tensor bias,
                      const Conv2dOptions& options, Activation activation, Tensor) const override;
  void conv2d_backward_input(Context& context, Tensor input_grad, Tensor output_grad, Tensor weight,
                             const Conv2dOptions& options, Tensor) const override;
  void conv2d_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                              Tensor output_grad, Tensor input, const Conv2dOptions& options,
                              GradientMode mode, Tensor) const override;
  std::int64_t linear_workspace_bytes(const TensorSpec& input, const TensorSpec& weight,
                                      const Target& target) const override;
  void linear_forward(Context& context, Tensor output, Tensor input, Tensor weight, Tensor bias,
                      Activation activation) const override;
  void linear_backward_input(Context& context, Tensor input_grad, Tensor output_grad,
                             Tensor weight) const override;
  void linear_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                              Tensor output_grad, Tensor input, GradientMode mode) const override;
  void dropout(Context& context, Tensor output, Tensor input,
               const DropoutMask& mask) const override;
  void add(Context& context, Tensor output, Tensor a, Tensor b) const override;
  void batch_norm2d_statistics(Context& context, Tensor mean, Tensor variance, Tensor x,
                               double* sums) const override;
  void batch_norm2d_forward(Context& context, Tensor y, Tensor x, Tensor mean, Tensor variance,
                            Tensor weight, Tensor bias, float eps) const override;
  void batch_norm2d_backward_input(Context& context, Tensor x_grad, Tensor y_grad, Tensor x,
                                   Tensor mean, Tensor variance, Tensor weight, float eps,
                                   double* sums) const override;
  void batch_norm2d_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                                    Tensor y_grad, Tensor x, Tensor mean, Tensor variance,
                                    float eps, GradientMode mode, double* sums) const override;
  void batch_norm2d_update(Context& context, Tensor running_mean, Tensor running_variance,
                           Tensor means, Tensor variances, std::int64_t values,
                           float momentum) const override;
  void softmax_cross_entropy(Context& context, Tensor losses, Tensor correct, Tensor logits_grad,
                             Tensor logits, Tensor labels, float scale, std::int64_t samples,
                             float label_smoothing) const override;
  void mean_squared_error(Context& context, Tensor losses, Tensor prediction_grad,
                          Tensor prediction, Tensor targets, float scale,
                          std::int64_t samples) const override;
  void raise_unless_finite(Context& context, Tensor losses) const override;
  void sum_of_squares(Context& context, double* sum, Tensor values, void* workspace) const override;
  void clip_gradients(Context& context, Tensor gradients, std::span<const double> sums,
                      double max_norm, double* norms) const override;
  void sgd_step(Context& context, Tensor parameter, Tensor velocity, Tensor grad, Tensor copy,
                const SgdOptions& options) const override;
  void adam_step(Context& context, Tensor parameter, Tensor m, Tensor v, Tensor grad, Tensor copy,
                 const AdamOptions& options) const override;
  void permute_format(Context& context, Tensor output, Tensor input) const override;
  void fill_uniform(Context& context, Tensor output, float bound,
                    const RandomStream& stream) const override;
  void cast(Context& context, Tensor output, Tensor input) const override;
  void transform_samples(Context& context, Tensor output, Tensor labels,
                         const ResidentImages& images, Tensor samples) const override;
};

}  // namespace stagecoach::cuda
