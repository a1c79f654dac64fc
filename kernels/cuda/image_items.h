// What the pools' kernels go over: channels_last images, a pack of channels of one pixel at a time.
#pragma once

#include "kernels/cuda/checks.h"
#include "kernels/cuda/divider.h"
#include "kernels/cuda/launch.h"

namespace stagecoach::cuda {

struct ImagePlace {
  std::int64_t image;
  int y, x, channel;  // the first channel of the pack
};

class ImageItems {
 public:
  // Items of `pack` channels, a divisor of their number. Throws Error when there are 2^31 of them,
  // or an image has 2^31 elements: places are found in 32 bits, which takes a GPU half the time.
  ImageItems(const char* operation, const TensorSpec& images, int pack)
      : count_(check_items(operation, images, images.elements() / pack)),
        of_image_(count_ / static_cast<std::uint32_t>(images.shape[0])),
        of_pixel_(static_cast<std::uint32_t>(images.shape[1] / pack)),
        of_row_(static_cast<std::uint32_t>(images.shape[3])),
        pack_(pack) {
    check_image_size(operation, images);
  }

  __host__ __device__ std::uint32_t count() const { return count_; }
  __device__ ImagePlace at(std::uint32_t item) const {
    const auto [image, rest] = of_image_(item);
    const auto [pixel, pack] = of_pixel_(rest);
    const auto [y, x] = of_row_(pixel);
    return {image, static_cast<int>(y), static_cast<int>(x), static_cast<int>(pack) * pack_};
  }

 private:
  std::uint32_t count_;
  Divider of_image_, of_pixel_, of_row_;
  int pack_;
};

}  // namespace stagecoach::cuda
