// Convolution as its definition says it, in double.
#pragma once

#include "kernels/conv2d.h"
#include "tests/kernels/reference_sums.h"
#include "tests/kernels/tensors.h"

namespace stagecoach::testing {

// Calls body(output element, input element, weight element) for each product of the definition;
// elements are offsets in memory.
template <typename Body>
void for_each_product(const TensorSpec& output, const TensorSpec& input, const TensorSpec& weight,
                      const Conv2dOptions& options, const Body& body) {
  const Shape& y = output.shape;
  const Shape& w = weight.shape;
  for (std::int64_t n = 0; n < y[0]; ++n)
    for (std::int64_t o = 0; o < y[1]; ++o)
      for (std::int64_t oy = 0; oy < y[2]; ++oy)
        for (std::int64_t ox = 0; ox < y[3]; ++ox)
          for (std::int64_t c = 0; c < w[1]; ++c)
            for (std::int64_t ky = 0; ky < w[2]; ++ky)
              for (std::int64_t kx = 0; kx < w[3]; ++kx) {
                const std::int64_t iy = oy * options.stride_h + ky - options.padding_h;
                const std::int64_t ix = ox * options.stride_w + kx - options.padding_w;
                if (iy < 0 || iy >= input.shape[2] || ix < 0 || ix >= input.shape[3]) continue;
                body(offset_of(output, n, o, oy, ox), offset_of(input, n, c, iy, ix),
                     offset_of(weight, o, c, ky, kx));
              }
}

inline ReferenceSums reference_conv2d(const TensorSpec& output, const Tensor& input,
                                      const Tensor& weight, const Tensor& bias,
                                      const Conv2dOptions& options) {
  ReferenceSums sums(output);
  for (std::int64_t i = 0; i < output.elements(); ++i) {
    sums.add(i, bias.as<float>()[i % output.shape[1]]);  // the channel is the fastest dimension
  }
  for_each_product(output, input.spec, weight.spec, options, [&](auto y, auto x, auto w) {
    sums.add(y, static_cast<double>(input.as<float>()[x]) * weight.as<float>()[w]);
  });
  return sums;
}

inline ReferenceSums reference_conv2d_input_grad(const TensorSpec& input, const Tensor& output_grad,
                                                 const Tensor& weight,
                                                 const Conv2dOptions& options) {
  ReferenceSums sums(input);
  for_each_product(output_grad.spec, input, weight.spec, options, [&](auto y, auto x, auto w) {
    sums.add(x, static_cast<double>(output_grad.as<float>()[y]) * weight.as<float>()[w]);
  });
  return sums;
}

inline ReferenceSums reference_conv2d_weight_grad(const TensorSpec& weight,
                                                  const Tensor& output_grad, const Tensor& input,
                                                  const Conv2dOptions& options) {
  ReferenceSums sums(weight);
  for_each_product(output_grad.spec, input.spec, weight, options, [&](auto y, auto x, auto w) {
    sums.add(w, static_cast<double>(output_grad.as<float>()[y]) * input.as<float>()[x]);
  });
  return sums;
}

inline ReferenceSums reference_conv2d_bias_grad(const Tensor& output_grad) {
  const std::int64_t channels = output_grad.shape()[1];
  ReferenceSums sums(row_major({channels}));
  for (std::int64_t i = 0; i < output_grad.elements(); ++i) {
    sums.add(i % channels, output_grad.as<float>()[i]);
  }
  return sums;
}

}  // namespace stagecoach::testing
