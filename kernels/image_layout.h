// How a batch of images lies in memory: pixel by pixel, or as tensor cores want them.
#pragma once

#include "core/tensor.h"

namespace stagecoach {

// Images [N, C, H, W] as [N, channels, height, width] channels_last, each pixel of which holds a
// block of pixels of the image: channel (dy * block + dx) * C + c of pixel (y, x) is channel c of
// the image's pixel (y * block + dy - padding, x * block + dx - padding), and 0 where there is none
// or from channel C * block * block on.
struct ImageLayout {
  std::int64_t channels = 0, height = 0, width = 0;
  std::int64_t block = 1, padding = 0;

  TensorSpec batch(std::int64_t images, DType dtype) const {
    return channels_last(images, channels, height, width, dtype);
  }
  bool operator==(const ImageLayout&) const = default;
};

// Of `images` [N, C, H, W]: pixel by pixel.
inline ImageLayout plain_layout(const TensorSpec& images) {
  return {.channels = images.shape[1], .height = images.shape[2], .width = images.shape[3]};
}

}  // namespace stagecoach
