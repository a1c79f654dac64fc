#include "kernels/cpu/conv2d_bias.h"

namespace stagecoach::cpu {

void conv2d_bias_grad(const Conv2dShape& shape, std::int64_t first_image, std::int64_t last_image,
                      std::int64_t begin, std::int64_t end, float* bias_grad,
                      const float* output_grad, bool overwrite) {
  const std::int64_t channels = end - begin, pixels = shape.pixels();
  for (std::int64_t image = first_image; image < last_image; ++image) {
    float sums[kBiasChannels] = {};
    const float* from = output_grad + image * pixels * shape.outputs + begin;
    for (std::int64_t i = 0; i < pixels; ++i, from += shape.outputs) {
      for (std::int64_t c = 0; c < channels; ++c) sums[c] += from[c];
    }
    const bool store = overwrite && image == first_image;
    float* to = bias_grad + begin;
    for (std::int64_t c = 0; c < channels; ++c) to[c] = store ? sums[c] : to[c] + sums[c];
  }
}

}  // namespace stagecoach::cpu
