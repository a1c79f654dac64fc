#include "kernels/cpu/conv2d.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/cpu/conv2d_direct.h"
#include "kernels/cpu/conv2d_im2col.h"
#include "kernels/cpu/conv2d_winograd.h"

namespace stagecoach::cpu {
namespace {

template <typename Algorithm, typename Accepts>
const Algorithm& first_of(std::span<const Algorithm> algorithms, const Accepts& accepts) {
  const auto found = std::ranges::find_if(algorithms, accepts);
  return found != algorithms.end() ? *found : algorithms.back();
}

// The form of the weight at the front, for callers that keep none.
template <typename Algorithm>
std::int64_t bytes_with_form(const Algorithm& algorithm, const Conv2dShape& shape, int threads) {
  return algorithm.form_floats(shape) * static_cast<std::int64_t>(sizeof(float)) +
         algorithm.workspace_bytes(shape, threads);
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
  static const Conv2dForward forward[] = {kWinogradForward, kDirectForward, kIm2colForward};
  static const Conv2dBackwardInput backward_input[] = {kWinogradBackwardInput,
                                                       kIm2colBackwardInput};
  static const Conv2dBackwardWeight backward_weight[] = {
      kWinogradBackwardWeight, kDirectBackwardWeight, kIm2colBackwardWeight};
  static const Conv2dTable table{forward, backward_input, backward_weight};
  return table;
}

const Conv2dForward& choose_conv2d_forward(const Conv2dShape& shape, Convolution wanted) {
  return first_of(conv2d_table().forward,
                  [&](const Conv2dForward& a) { return a.fits(shape, wanted); });
}

const Conv2dBackwardInput& choose_conv2d_backward_input(const Conv2dShape& shape,
                                                        Convolution wanted) {
  return first_of(conv2d_table().backward_input,
                  [&](const Conv2dBackwardInput& a) { return a.fits(shape, wanted); });
}

const Conv2dBackwardWeight& choose_conv2d_backward_weight(const Conv2dShape& shape,
                                                          Convolution wanted, bool keeps_sums) {
  return first_of(conv2d_table().backward_weight, [&](const Conv2dBackwardWeight& a) {
    return (keeps_sums || a.sums_floats == nullptr) && a.fits(shape, wanted);
  });
}

std::int64_t conv2d_workspace_bytes(const Conv2dShape& shape, Convolution wanted, int threads) {
  return std::max(
      {bytes_with_form(choose_conv2d_forward(shape, wanted), shape, threads),
       bytes_with_form(choose_conv2d_backward_input(shape, wanted), shape, threads),
       choose_conv2d_backward_weight(shape, wanted, true).workspace_bytes(shape, threads),
       choose_conv2d_backward_weight(shape, wanted, false).workspace_bytes(shape, threads)});
}

std::string describe_conv2d(const Conv2dShape& shape, Convolution wanted) {
  return fmt::format("F {}, B {}, W {}", choose_conv2d_forward(shape, wanted).name,
                     choose_conv2d_backward_input(shape, wanted).name,
                     choose_conv2d_backward_weight(shape, wanted, true).name);
}

}  // namespace stagecoach::cpu
