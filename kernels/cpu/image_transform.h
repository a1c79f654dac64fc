// Image transforms on the CPU, as Pillow's ImagingResample computes them.
#pragma once

#include "core/thread_pool.h"
#include "kernels/image_transform.h"

namespace stagecoach::cpu {

// `images` [count, 3, side, side]; `output` [count, crop, crop, 3].
void transform_images(ThreadPool& pool, std::int64_t count, std::int64_t side, float* output,
                      const std::uint8_t* images, const ImageCrop* crops,
                      const ImageTransform& transform);

}  // namespace stagecoach::cpu
