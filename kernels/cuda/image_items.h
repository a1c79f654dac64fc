// What the pools' kernels go over: channels_last images, a pack of channels of one pixel at a time.
#pragma once

#include "kernels/cuda/checks.h"
#include "kernels/cuda/launch.h"

namespace stagecoach::cuda {

struct ImagePlace {
  std::int64_t image;
  int y, x, channel;  // the first channel of the pack
};

class ImageItems {
 public:
  // Items of `pack` channels, a divisor of their number. Throws Error when an image has 2^31
  // elements: what lies within an image is divided in 32 bits, which takes a GPU half the time.
  ImageItems(const char* operation, const TensorSpec& images, int pack)
      : packs_(static_cast<std::uint32_t>(images.shape[1] / pack)),
        width_(static_cast<std::uint32_t>(images.shape[3])),
        pack_(pack),
        of_image_(images.elements() / images.shape[0] / pack),
        count_(images.shape[0] * of_image_) {
    check_image_size(operation, images);
  }

  __host__ __device__ std::int64_t count() const { return count_; }
  __device__ ImagePlace at(std::int64_t item) const {
    const std::int64_t image = item / of_image_;
    const auto rest = static_cast<std::uint32_t>(item - image * of_image_);
    const std::uint32_t pixel = rest / packs_;
    return {image, static_cast<int>(pixel / width_), static_cast<int>(pixel % width_),
            static_cast<int>(rest % packs_) * pack_};
  }

 private:
  std::uint32_t packs_, width_;
  int pack_;
  std::int64_t of_image_, count_;
};

}  // namespace stagecoach::cuda
