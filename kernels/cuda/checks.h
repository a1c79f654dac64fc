// What kernels' files have checked elsewhere: nvcc 13.0 fails to compile core/error.h ("internal
// error"), so no .cu file includes it, and what throws Error is compiled by the C++ compiler.
#pragma once

#include "core/cuda/runtime.h"
#include "kernels/resident_images.h"

namespace stagecoach::cuda {

// Throws Error naming `operation` when an image of `images` [N, C, H, W] has 2^31 elements.
void check_image_size(const char* operation, const TensorSpec& images);

// `items`, what a kernel finds the places of in `tensor`. Throws Error naming `operation` when
// there are 2^31.
std::uint32_t check_items(const char* operation, const TensorSpec& tensor, std::int64_t items);

// Throws Error unless a block of the kernel `can` hold what makes a pixel of resized `images`.
void check_resize(bool can, const ResidentImages& images);

// What the driver says when asked for a kernel of this build on the current GPU.
cudaError_t status_of_kernels();

}  // namespace stagecoach::cuda
