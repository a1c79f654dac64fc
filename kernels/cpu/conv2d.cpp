#include "kernels/cpu/conv2d.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/cpu/conv2d_im2col.h"

namespace stagecoach::cpu {
namespace {

constexpr Conv2dTable kEverywhere{kIm2colForward, kIm2colBackwardInput, kIm2colBackwardWeight};

template <typename Algorithm>
const Algorithm& first_that_fits(std::span<const Algorithm> algorithms, const Conv2dShape& shape) {
  const auto found = std::ranges::find_if(
      algorithms, [&](const Algorithm& algorithm) { return algorithm.fits(shape); });
  return found != algorithms.end() ? *found : algorithms.back();
}

}  // namespace

Conv2dShape conv2d_shape(const Shape& input, const Shape& weight, const Shape& output,
                         const Conv2dOptions& options) {
  return {.images = input[0],
          .in_h = input[2],
          .in_w = input[3],
          .channels = input[1],
          .outputs = weight[0],
          .kernel_h = weight[2],
          .kernel_w = weight[3],
          .out_h = output[2],
          .out_w = output[3],
          .options = options};
}

const Conv2dTable& conv2d_table() {
  return kEverywhere;
}

const Conv2dForward& choose_conv2d_forward(const Conv2dShape& shape) {
  return first_that_fits(conv2d_table().forward, shape);
}

const Conv2dBackwardInput& choose_conv2d_backward_input(const Conv2dShape& shape) {
  return first_that_fits(conv2d_table().backward_input, shape);
}

const Conv2dBackwardWeight& choose_conv2d_backward_weight(const Conv2dShape& shape) {
  return first_that_fits(conv2d_table().backward_weight, shape);
}

std::int64_t conv2d_workspace_bytes(const Conv2dShape& shape, int threads) {
  return std::max({choose_conv2d_forward(shape).workspace_bytes(shape, threads),
                   choose_conv2d_backward_input(shape).workspace_bytes(shape, threads),
                   choose_conv2d_backward_weight(shape).workspace_bytes(shape, threads)});
}

std::string describe_conv2d(const Conv2dShape& shape) {
  return fmt::format("F {}, B {}, W {}", choose_conv2d_forward(shape).name,
                     choose_conv2d_backward_input(shape).name,
                     choose_conv2d_backward_weight(shape).name);
}

}  // namespace stagecoach::cpu
