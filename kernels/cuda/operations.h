// The operations of kernels/ on a GPU, as own kernels. The public operations have checked every
// tensor; what their headers say holds here. Activations and their gradients are F32 or BF16, all
// of one call alike; sums are made in fp32, in an order that only the sizes decide.
#pragma once

#include "core/context.h"
#include "kernels/dropout.h"
#include "kernels/gradient_mode.h"
#include "kernels/image_transform.h"
#include "kernels/max_pool2d.h"
#include "kernels/optimizers.h"
#include "kernels/resident_images.h"
#include "kernels/step.h"

namespace stagecoach::cuda {

// Throws Error unless this build has code for the GPU and the GPU computes in the precision.
void check_target(const Target& target);

void begin_step(Context& context, const StepValues& values);

void relu_forward(Context& context, Tensor output, Tensor input);
void relu_backward(Context& context, Tensor input_grad, Tensor output_grad, Tensor output);

// `after_relu`: see MaxPool2dInput.
void max_pool2d_forward(Context& context, Tensor output, Tensor index, Tensor input,
                        const MaxPool2dOptions& options, MaxPool2dInput kind);
void max_pool2d_backward(Context& context, Tensor input_grad, Tensor output_grad, Tensor index,
                         const MaxPool2dOptions& options);

void adaptive_avg_pool2d_forward(Context& context, Tensor output, Tensor input);
void adaptive_avg_pool2d_backward(Context& context, Tensor input_grad, Tensor output_grad);

// Forward and backward.
void dropout(Context& context, Tensor output, Tensor input, const DropoutMask& mask);

void softmax_cross_entropy(Context& context, Tensor losses, Tensor correct, Tensor logits_grad,
                           Tensor logits, Tensor labels, float scale);

void add(Context& context, Tensor output, Tensor a, Tensor b);

// `sums`: batch_norm2d_workspace_bytes().
void batch_norm2d_statistics(Context& context, Tensor mean, Tensor variance, Tensor x,
                             double* sums);
void batch_norm2d_forward(Context& context, Tensor y, Tensor x, Tensor mean, Tensor variance,
                          Tensor weight, Tensor bias, float eps);
void batch_norm2d_backward_input(Context& context, Tensor x_grad, Tensor y_grad, Tensor x,
                                 Tensor mean, Tensor variance, Tensor weight, float eps,
                                 double* sums);
void batch_norm2d_backward_weight(Context& context, Tensor weight_grad, Tensor bias_grad,
                                  Tensor y_grad, Tensor x, Tensor mean, Tensor variance, float eps,
                                  GradientMode mode, double* sums);
void batch_norm2d_update(Context& context, Tensor running_mean, Tensor running_variance,
                         Tensor means, Tensor variances, std::int64_t values, float momentum);

void mean_squared_error(Context& context, Tensor losses, Tensor prediction_grad, Tensor prediction,
                        Tensor targets, float scale);

// The context has a failure flag.
void raise_unless_finite(Context& context, Tensor losses);

// `copy` (undefined: none): BF16, gets the new parameters. Nothing is written when the context's
// failure flag is raised.
void sgd_step(Context& context, Tensor parameter, Tensor velocity, Tensor grad, Tensor copy,
              const SgdOptions& options);
void adam_step(Context& context, Tensor parameter, Tensor m, Tensor v, Tensor grad, Tensor copy,
               const AdamOptions& options);

void permute_format(Context& context, Tensor output, Tensor input);
void fill_uniform(Context& context, Tensor output, float bound, const RandomStream& stream);
void cast(Context& context, Tensor output, Tensor input);

void transform_samples(Context& context, Tensor output, Tensor labels, const ResidentImages& images,
                       Tensor samples);

// bias_grad [C] F32: sums of output_grad [rows, C] over the rows (channels_last of rank 4 counts as
// [N * H * W, C]); written, or added to. `workspace`:
// bias_grad_workspace_bytes(rows, C).
std::int64_t bias_grad_workspace_bytes(std::int64_t rows, std::int64_t channels);
void bias_grad(Context& context, Tensor bias_grad, Tensor output_grad, GradientMode mode,
               void* workspace);

// sum += addend; both F32, of equally many elements.
void accumulate(Context& context, Tensor sum, Tensor addend);

// `input` [N, C, H, W] becomes `output` [N, C', H', W'], each pixel of which holds a block of
// pixels of the input: channel (dy * block + dx) * C + c of pixel (y, x) is channel c of the
// input's pixel (y * block + dy - padding, x * block + dx - padding), and 0 where there is none or
// from channel C * block * block on. Both channels_last. Casts F32 to BF16 where the dtypes say so.
struct SpaceToDepth {
  std::int64_t block = 1, padding = 0;
};
void space_to_depth(Context& context, Tensor output, Tensor input, const SpaceToDepth& options);
// The way back, for gradients of weights, padding 0: `output` [N, C, H, W] F32 gets, or is added,
// what lies at its places in `input` [N, C', H', W'] F32; the rest of the input is dropped.
void depth_to_space(Context& context, Tensor output, Tensor input, const SpaceToDepth& options,
                    GradientMode mode);

}  // namespace stagecoach::cuda
