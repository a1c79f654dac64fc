#include "kernels/cpu/conv2d_direct.h"

#include <algorithm>

#include "kernels/cpu/conv2d_bias.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/relu.h"
#include "kernels/cpu/round_up.h"

namespace stagecoach::cpu {
namespace {

// Rows of the output that share a padded copy of the input.
constexpr std::int64_t kBandRows = 8;
// W: a task of the sum over the images.
constexpr std::int64_t kSumTaps = 16;
// With more channels, Winograd's products or packed ones are faster.
constexpr std::int64_t kFewChannels = 16;
// W keeps a gradient for each image: of at most so many floats.
constexpr std::int64_t kSmallWeight = std::int64_t{1} << 16;

constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));

bool fits(const Conv2dShape& s, Convolution) {
  return s.channels < kFewChannels && s.outputs % kWholeColumns == 0;
}

// Floats of a row of the kernel, and of a row of the padded input.
std::int64_t run(const Conv2dShape& s) {
  return s.kernel_w * s.channels;
}
std::int64_t padded_width(const Conv2dShape& s) {
  return (s.out_w - 1) * s.options.stride_w * s.channels + run(s);
}
std::int64_t padded_floats(const Conv2dShape& s) {
  const std::int64_t rows = (std::min(kBandRows, s.out_h) - 1) * s.options.stride_h + s.kernel_h;
  return round_up(rows * padded_width(s), kWholeColumns);
}

// What the output's rows `band` of one image read.
void pad(const Conv2dShape& s, Range band, float* padded, const float* image) {
  const std::int64_t width = padded_width(s), in_width = s.in_w * s.channels;
  const std::int64_t left = std::min(s.options.padding_w * s.channels, width);
  const std::int64_t inside = std::min(in_width, width - left);
  const std::int64_t top = band.begin * s.options.stride_h - s.options.padding_h;
  const std::int64_t rows = (band.size() - 1) * s.options.stride_h + s.kernel_h;
  for (std::int64_t y = top; y < top + rows; ++y, padded += width) {
    if (y < 0 || y >= s.in_h) {
      std::fill_n(padded, width, 0.0f);
      continue;
    }
    std::fill_n(padded, left, 0.0f);
    std::copy_n(image + y * in_width, inside, padded + left);
    std::fill_n(padded + left + inside, width - left - inside, 0.0f);
  }
}

// The bands of an image.
std::int64_t bands(const Conv2dShape& s) {
  return divide_up(s.out_h, kBandRows);
}
Range band_of(const Conv2dShape& s, std::int64_t i) {
  return {i * kBandRows, std::min((i + 1) * kBandRows, s.out_h)};
}

// The form of the weight: [taps, outputs].
std::int64_t form_floats(const Conv2dShape& s) {
  return s.taps() * s.outputs;
}
void make_form(ThreadPool&, const Conv2dShape& s, float* form, const float* weight) {
  for (std::int64_t o = 0; o < s.outputs; ++o) {
    for (std::int64_t t = 0; t < s.taps(); ++t) form[t * s.outputs + o] = weight[o * s.taps() + t];
  }
}

std::int64_t forward_bytes(const Conv2dShape& s, int threads) {
  return threads * padded_floats(s) * kFloat;
}

void forward(ThreadPool& pool, void* workspace, const Conv2dShape& s, float* output,
             const float* input, const float* form, const float* bias, Activation activation) {
  const std::int64_t width = padded_width(s), row_floats = s.out_w * s.outputs;
  pool.parallel_for(s.images * bands(s), [&](std::int64_t i, int thread) {
    const std::int64_t image = i / bands(s);
    const Range band = band_of(s, i % bands(s));
    float* padded = static_cast<float*>(workspace) + thread * padded_floats(s);
    pad(s, band, padded, input + image * s.in_elements());
    for (std::int64_t y = band.begin; y < band.end; ++y) {
      float* row = output + (image * s.out_h + y) * row_floats;
      for (std::int64_t x = 0; x < s.out_w; ++x) std::copy_n(bias, s.outputs, row + x * s.outputs);
      const float* window = padded + (y - band.begin) * s.options.stride_h * width;
      sgemm_runs(s.out_w, s.outputs, s.taps(),
                 {window, s.options.stride_w * s.channels, run(s), width, 1}, {form, s.outputs},
                 SumFrom::kOutput, {row, s.outputs});
      if (activation == Activation::kRelu) relu_in_place(row_floats, row);
    }
  });
}

// An image's gradient: [taps, outputs] of the weight, then [outputs] of the bias.
std::int64_t grad_floats(const Conv2dShape& s) {
  return (s.taps() + 1) * s.outputs;
}

bool fits_backward_weight(const Conv2dShape& s, Convolution wanted) {
  return fits(s, wanted) && grad_floats(s) <= kSmallWeight;
}

// The threads' padded rows, then the gradients of the images.
std::int64_t backward_weight_bytes(const Conv2dShape& s, int threads) {
  return (threads * padded_floats(s) + s.images * grad_floats(s)) * kFloat;
}

// Chains over the pixels of one image.
void image_grad(const Conv2dShape& s, float* padded, float* grad, const float* output_grad,
                const float* image) {
  const std::int64_t width = padded_width(s);
  for (std::int64_t b = 0; b < bands(s); ++b) {
    const Range band = band_of(s, b);
    pad(s, band, padded, image);
    for (std::int64_t ky = 0; ky < s.kernel_h; ++ky) {
      const RunsMatrix windows{padded + ky * width, 1, s.out_w, s.options.stride_h * width,
                               s.options.stride_w * s.channels};
      sgemm_runs(run(s), s.outputs, band.size() * s.out_w, windows,
                 {output_grad + band.begin * s.out_w * s.outputs, s.outputs},
                 b == 0 ? SumFrom::kZero : SumFrom::kOutput,
                 {grad + ky * run(s) * s.outputs, s.outputs});
    }
  }
  float* bias_grad = grad + s.taps() * s.outputs;
  for (std::int64_t o = 0; o < s.outputs; o += kBiasChannels) {
    conv2d_bias_grad(s, 0, 1, o, std::min(o + kBiasChannels, s.outputs), bias_grad, output_grad,
                     true);
  }
}

// to[0], to[stride], ... (+)= those of the first image + those of the second + ..., in this order.
void add_images(const Conv2dShape& s, float* to, std::int64_t stride, const float* of_image,
                GradientMode mode) {
  const bool overwrite = mode == GradientMode::kOverwrite;
  float sums[kWholeColumns];
  for (std::int64_t c = 0; c < kWholeColumns; ++c) {
    sums[c] = overwrite ? of_image[c] : to[c * stride] + of_image[c];
  }
  for (std::int64_t i = 1; i < s.images; ++i) {
    of_image += grad_floats(s);
    for (std::int64_t c = 0; c < kWholeColumns; ++c) sums[c] += of_image[c];
  }
  for (std::int64_t c = 0; c < kWholeColumns; ++c) to[c * stride] = sums[c];
}

void backward_weight(ThreadPool& pool, void* workspace, const Conv2dShape& s, float* weight_grad,
                     float* bias_grad, const float* output_grad, const float* input,
                     GradientMode mode) {
  auto* const padded = static_cast<float*>(workspace);
  float* const grads = padded + pool.threads() * padded_floats(s);
  pool.parallel_for(s.images, [&](std::int64_t i, int thread) {
    image_grad(s, padded + thread * padded_floats(s), grads + i * grad_floats(s),
               output_grad + i * s.pixels() * s.outputs, input + i * s.in_elements());
  });
  parallel_ranges(pool, s.taps() + 1, kSumTaps, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      for (std::int64_t o = 0; o < s.outputs; o += kWholeColumns) {
        const bool bias = t == s.taps();
        add_images(s, bias ? bias_grad + o : weight_grad + o * s.taps() + t, bias ? 1 : s.taps(),
                   grads + t * s.outputs + o, mode);
      }
    }
  });
}

}  // namespace

const Conv2dForward kDirectForward = {
    {"direct", fits, forward_bytes, forward}, form_floats, make_form};
const Conv2dBackwardWeight kDirectBackwardWeight = {
    {"direct", fits_backward_weight, backward_weight_bytes, backward_weight}, nullptr, nullptr};

}  // namespace stagecoach::cpu
