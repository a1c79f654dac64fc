// Convolution on the CPU: the sizes, and for each direction (F, B, W) the choice of the algorithm.
#pragma once

#include <span>
#include <string>

#include "core/thread_pool.h"
#include "kernels/conv2d.h"

namespace stagecoach::cpu {

// The sizes of one convolution. Activations lie as [N, H, W, C], weights as [O, KH, KW, C].
struct Conv2dShape {
  std::int64_t images, in_h, in_w, channels;
  std::int64_t outputs, kernel_h, kernel_w;
  std::int64_t out_h, out_w;
  Conv2dOptions options;

  std::int64_t pixels() const { return out_h * out_w; }                 // of one output image
  std::int64_t rows() const { return images * pixels(); }               // of the output as a matrix
  std::int64_t taps() const { return kernel_h * kernel_w * channels; }  // inputs of one output
  std::int64_t in_elements() const { return in_h * in_w * channels; }   // of one input image
};

// Of operands of these shapes, [N, C, H, W] and [O, C, KH, KW].
Conv2dShape conv2d_shape(const Shape& input, const Shape& weight, const Shape& output,
                         const Conv2dOptions& options);

// One way to compute one direction. The results have the same bits for any number of threads and
// any instruction set, and no trace of how a batch was cut into calls; `workspace` has
// workspace_bytes(shape, pool.threads()).
template <typename Run>
struct Conv2dAlgorithm {
  const char* name;
  bool (*fits)(const Conv2dShape& shape, Convolution wanted);
  std::int64_t (*workspace_bytes)(const Conv2dShape& shape, int threads);
  Run* run;
};
// F and B read a form of the weight: `form_floats` floats, made once for many calls.
template <typename Run>
struct Conv2dOfForm : Conv2dAlgorithm<Run> {
  std::int64_t (*form_floats)(const Conv2dShape& shape);
  void (*make_form)(ThreadPool& pool, const Conv2dShape& shape, float* form, const float* weight);
};
using Conv2dForward = Conv2dOfForm<void(ThreadPool& pool, void* workspace, const Conv2dShape& shape,
                                        float* output, const float* input, const float* form,
                                        const float* bias, Activation activation)>;
using Conv2dBackwardInput =
    Conv2dOfForm<void(ThreadPool& pool, void* workspace, const Conv2dShape& shape,
                      float* input_grad, const float* output_grad, const float* form)>;
// W writes or adds to the weight's gradient; or to `sums_floats` sums, of which finish() makes it
// (overwritten) when all images of a step are in.
struct Conv2dBackwardWeight
    : Conv2dAlgorithm<void(ThreadPool& pool, void* workspace, const Conv2dShape& shape, float* sums,
                           float* bias_grad, const float* output_grad, const float* input,
                           GradientMode mode)> {
  std::int64_t (*sums_floats)(const Conv2dShape& shape);  // null: there are none
  void (*finish)(ThreadPool& pool, const Conv2dShape& shape, float* weight_grad, const float* sums);
};

// In each list the first that fits a shape is taken, so better ones stand before more general ones,
// and the last one fits every shape.
struct Conv2dTable {
  std::span<const Conv2dForward> forward;
  std::span<const Conv2dBackwardInput> backward_input;
  std::span<const Conv2dBackwardWeight> backward_weight;
};

const Conv2dTable& conv2d_table();

// The choices for a convolution: functions of its shape (without the images) and of what the user
// wants alone, so every run takes the same.
const Conv2dForward& choose_conv2d_forward(const Conv2dShape& shape, Convolution wanted);
const Conv2dBackwardInput& choose_conv2d_backward_input(const Conv2dShape& shape,
                                                        Convolution wanted);
// `keeps_sums`: the caller keeps the sums of W until the step ends. Else one without sums.
const Conv2dBackwardWeight& choose_conv2d_backward_weight(const Conv2dShape& shape,
                                                          Convolution wanted, bool keeps_sums);

// The most that one of the three needs, with a form of the weight beside it.
std::int64_t conv2d_workspace_bytes(const Conv2dShape& shape, Convolution wanted, int threads);
// For people: "F winograd, B winograd, W winograd".
std::string describe_conv2d(const Conv2dShape& shape, Convolution wanted);

}  // namespace stagecoach::cpu
