// A data set in a GPU's memory, and the batches that are gathered from it there.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "kernels/image_transform.h"

namespace stagecoach {

// The images' bytes and labels, and the tables of the transform that makes network input of them.
class ResidentImages {
 public:
  // Copies `images` [count, 3, side, side] U8 row-major and their labels to the context's GPU.
  // Blocks. Throws Error when the context is not on a GPU, or its memory does not suffice.
  ResidentImages(Context& context, std::int64_t count, std::int64_t side,
                 const std::uint8_t* images, const std::uint8_t* labels,
                 const ImageTransform& transform);

  const ImageTransform& transform() const { return transform_; }
  std::int64_t count() const { return pixels_.tensor.shape()[0]; }
  std::int64_t side() const { return pixels_.tensor.shape()[2]; }
  std::int64_t bytes() const;

  // On the GPU. `windows` I32 [resize, 2]: begin and end of what makes a pixel; `weights` I32
  // [resize, widest]; `values` F32 [3, 256]: what a byte becomes.
  const Tensor& pixels() const { return pixels_.tensor; }
  const Tensor& labels() const { return labels_.tensor; }
  const Tensor& windows() const { return windows_.tensor; }
  const Tensor& weights() const { return weights_.tensor; }
  const Tensor& values() const { return values_.tensor; }

 private:
  ImageTransform transform_;
  OwnedTensor pixels_, labels_, windows_, weights_, values_;
};

// Row n of `samples` (I32 [N, 4]) says: image, top, left, flip (0 or 1). output
// [N, 3, crop, crop] channels_last, F32 or BF16, becomes what transform_images() makes of these
// images and crops, with the same bits in F32; labels [N] I32 their labels. All on the GPU of the
// context; what `samples` says is not checked. Throws Error for other shapes, or on the CPU.
void transform_samples(Context& context, Tensor output, Tensor labels, const ResidentImages& images,
                       Tensor samples);

}  // namespace stagecoach
