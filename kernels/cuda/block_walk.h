// Images in blocks (see ImageLayout) as kernels make them, a pack of channels at a time.
#pragma once

#include "kernels/cuda/image_items.h"

namespace stagecoach::cuda {

struct Blocks {
  int channels;  // of the images
  int block, padding;
};

// Where the channels of one pixel of blocks lie in the image, one after another.
class BlockWalk {
 public:
  // Begins at `place`, of the blocks.
  __device__ BlockWalk(const Blocks& blocks, const ImagePlace& place)
      : blocks_(blocks),
        top_(place.y * blocks.block - blocks.padding),
        left_(place.x * blocks.block - blocks.padding),
        dy_(place.channel / blocks.channels / blocks.block),
        dx_(place.channel / blocks.channels % blocks.block),
        channel_(place.channel % blocks.channels) {}

  __device__ int y() const { return top_ + dy_; }
  __device__ int x() const { return left_ + dx_; }
  __device__ int channel() const { return channel_; }
  // Whether an image of this size has such a pixel.
  __device__ bool inside(std::int64_t height, std::int64_t width) const {
    return dy_ < blocks_.block && y() >= 0 && y() < height && x() >= 0 && x() < width;
  }

  __device__ void next() {
    if (++channel_ < blocks_.channels) return;
    channel_ = 0;
    if (++dx_ < blocks_.block) return;
    dx_ = 0;
    ++dy_;
  }

 private:
  Blocks blocks_;
  int top_, left_, dy_, dx_, channel_;
};

}  // namespace stagecoach::cuda
