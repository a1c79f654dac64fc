// What kernels' files have checked elsewhere: nvcc 13.0 fails to compile core/error.h ("internal
// error"), so no .cu file includes it, and what throws Error is compiled by the C++ compiler.
#pragma once

#include "core/cuda/runtime.h"
#include "kernels/resident_images.h"

namespace stagecoach::cuda {

// Throws Error naming `operation` when an image of `images` [N, C, H, W] has 2^31 elements.
void check_image_size(const char* operation, const TensorSpec& images);

// The number of packs of `pack` channels in `images`. Throws Error naming `operation` when it is
// 2^31, or check_image_size() fails.
std::uint32_t check_items(const char* operation, const TensorSpec& images, int pack);

// Throws Error unless a block of the kernel `can` hold what makes a pixel of resized `images`.
void check_resize(bool can, const ResidentImages& images);

// What the driver says when asked for a kernel of this build on the current GPU.
cudaError_t status_of_kernels();

}  // namespace stagecoach::cuda
