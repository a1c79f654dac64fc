// What a backend must give: one virtual function for each operation, beside the device's streams
// and memory (core/device_backend.h). The public operations have checked every tensor, its device
// too; what their headers say holds here. Whatever is not overridden throws Error by its name.
//
// A backend enqueues on the context's stream and returns at once. It is an object that lives as
// long as the program; it registers itself where it is linked, as kernels/cuda/backend.cpp does.
// The CPU's is always there.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/context.h"
#include "core/device_backend.h"
#include "kernels/conv2d.h"
#include "kernels/dropout.h"
#include "kernels/gradient_norm.h"
#include "kernels/image_transform.h"
#include "kernels/linear.h"
#include "kernels/max_pool2d.h"
#include "kernels/optimizers.h"
#include "kernels/resident_images.h"
#include "kernels/step.h"

namespace stagecoach {

class Backend {
 public:
  virtual ~Backend() = default;

  // What it can do beside the operations. Whether activations and their gradients may be BF16, all
  // of one call alike, and the optimizers write a copy of the parameters in BF16.
  virtual bool computes_bf16() const { return false; }
  // Throws Error unless it has code for the device, and the device computes in the precision.
  virtual void check_target(const Target& target) const;
  // Names and versions of the libraries that it opens, or why it cannot: for people.
  virtual std::vector<std::pair<std::string, std::string>> library_versions() const { return {}; }

  // See kernels/target.h. A library that is missing is said where it is needed.
  virtual void open_libraries(Context&) const {}

  virtual void begin_step(Context& context, const StepValues& values) const;

  virtual void relu_forward(Context& context, Tensor output, Tensor input) const;
  virtual void relu_backward(Context& context, Tensor input_grad, Tensor output_grad,
                             Tensor output) const;

  virtual void max_pool2d_forward(Context& context, Tensor output, Tensor index, Tensor input,
                                  const MaxPool2dOptions& options, MaxPool2dInput kind) const;
  virtual void max_pool2d_backward(Context& context, Tensor input_grad, Tensor output_grad,
                                   Tensor index, const MaxPool2dOptions& options) const;

  virtual void adaptive_avg_pool2d_forward(Context& context, Tensor output, Tensor input) const;
  virtual void adaptive_avg_pool2d_backward(Context& context, Tensor input_grad,
                                            Tensor output_grad) const;

  virtual std::int64_t conv2d_workspace_bytes(const TensorSpec& input, const TensorSpec& weight,
                                              const Conv2dOptions& options,
                                              const Target& target) const;
  // None, unless the backend has forms and sums; then the three below get them, or undefined
  // tensors.
  virtual Conv2dStep conv2d_step(const TensorSpec& input, const TensorSpec& weight,
                                 const Conv2dOptions& options, const Target& target) const;
  virtual void conv2d_prepare(Context& context, Tensor forward, Tensor backward,
                              const TensorSpec& input, Tensor weight,
                              const Conv2dOptions& options) const;
  virtual void conv2d_finish_weight(Context& context, Tensor weight_grad, Tensor sums,
                                    const TensorSpec& input, const Conv2dOptions& options) const;
  virtual void conv2d_forward(Context& context, Tensor output, Tensor input, Tensor weight,
                              Tensor bias, const Conv2dOptions& options, Activation activation,
                              Tensor form) const;
  virtual void conv2d_backward_input(Context& context, Tensor input_grad, Tensor output_grad,
                                     Tensor weight, const Conv2dOptions& options,
                                     Tensor form) const;
  virtual void conv2d_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                                      Tensor output_grad, Tensor input,
                                      const Conv2dOptions& options, GradientMode mode,
                                      Tensor sums) const;

  virtual std::int64_t linear_workspace_bytes(const TensorSpec& input, const TensorSpec& weight,
                                              const Target& target) const;
  virtual void linear_forward(Context& context, Tensor output, Tensor input, Tensor weight,
                              Tensor bias, Activation activation) const;
  virtual void linear_backward_input(Context& context, Tensor input_grad, Tensor output_grad,
                                     Tensor weight) const;
  virtual void linear_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                                      Tensor output_grad, Tensor input, GradientMode mode) const;

  // Forward and backward.
  virtual void dropout(Context& context, Tensor output, Tensor input,
                       const DropoutMask& mask) const;

  virtual void add(Context& context, Tensor output, Tensor a, Tensor b) const;

  // `sums`: batch_norm2d_workspace_bytes() of the context's workspace.
  virtual void batch_norm2d_statistics(Context& context, Tensor mean, Tensor variance, Tensor x,
                                       double* sums) const;
  virtual void batch_norm2d_forward(Context& context, Tensor y, Tensor x, Tensor mean,
                                    Tensor variance, Tensor weight, Tensor bias, float eps) const;
  virtual void batch_norm2d_backward_input(Context& context, Tensor x_grad, Tensor y_grad, Tensor x,
                                           Tensor mean, Tensor variance, Tensor weight, float eps,
                                           double* sums) const;
  virtual void batch_norm2d_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                                            Tensor y_grad, Tensor x, Tensor mean, Tensor variance,
                                            float eps, GradientMode mode, double* sums) const;
  virtual void batch_norm2d_update(Context& context, Tensor running_mean, Tensor running_variance,
                                   Tensor means, Tensor variances, std::int64_t values,
                                   float momentum) const;

  // Of the losses: rows behind `samples` fill up the batch.
  virtual void softmax_cross_entropy(Context& context, Tensor losses, Tensor correct,
                                     Tensor logits_grad, Tensor logits, Tensor labels, float scale,
                                     std::int64_t samples, float label_smoothing) const;

  virtual void mean_squared_error(Context& context, Tensor losses, Tensor prediction_grad,
                                  Tensor prediction, Tensor targets, float scale,
                                  std::int64_t samples) const;
  // The context has a failure flag.
  virtual void raise_unless_finite(Context& context, Tensor losses) const;

  virtual void sum_of_squares(Context& context, double* sum, Tensor values, void* workspace) const;
  virtual void clip_gradients(Context& context, Tensor gradients, std::span<const double> sums,
                              double max_norm, double* norms) const;

  // `copy` (undefined: none): BF16, gets the new parameters. Nothing is written when the
  // context's failure flag is raised.
  virtual void sgd_step(Context& context, Tensor parameter, Tensor velocity, Tensor grad,
                        Tensor copy, const SgdOptions& options) const;
  virtual void adam_step(Context& context, Tensor parameter, Tensor m, Tensor v, Tensor grad,
                         Tensor copy, const AdamOptions& options) const;

  virtual void permute_format(Context& context, Tensor output, Tensor input) const;
  virtual void fill_uniform(Context& context, Tensor output, float bound,
                            const RandomStream& stream) const;
  virtual void cast(Context& context, Tensor output, Tensor input) const;

  // Of the host's images, on the CPU; of the device's, on a GPU.
  virtual void transform_images(Context& context, Tensor output, Tensor images,
                                std::span<const ImageCrop> crops,
                                const ImageTransform& transform) const;
  virtual void transform_samples(Context& context, Tensor output, Tensor labels,
                                 const ResidentImages& images, Tensor samples) const;

 protected:
  // Why an operation cannot be had.
  virtual Lack lack() const;

 private:
  [[noreturn]] void refuse(const char* operation) const;
};

// The backend of a kind of device; where none is registered, one that refuses everything.
const Backend& backend_of(DeviceType type);
inline const Backend& backend_of(const Target& target) {
  return backend_of(target.device.type);
}
inline const Backend& backend_of(const Context& context) {
  return backend_of(context.device().type);
}

// For static initialisation, or a test, before the first context on such a device. Returns true.
bool register_backend(DeviceType type, const Backend& backend);

// Throws Error naming `operation` unless the context's device computes in the dtype of `spec`, the
// operand `name`.
void check_floating(const char* operation, const char* name, const Context& context,
                    const TensorSpec& spec);

}  // namespace stagecoach
