// From uint8 images to the network's input: resize, crop, flip, scale to [0, 1], normalise.
//
// Equal to torchvision's Resize(resize) -> crop -> ToTensor -> Normalize(mean, std) on PIL images:
// Pillow's bilinear filter (triangle, support grows when shrinking), two passes with the
// intermediate rounded to uint8, 22-bit fixed-point coefficients.
#pragma once

#include <array>
#include <span>

#include "core/context.h"

namespace stagecoach {

struct ImageTransform {
  std::int64_t resize = 256;  // both sides of the resized (square) image
  std::int64_t crop = 224;    // both sides of the result; <= resize
  std::array<float, 3> mean{0.485f, 0.456f, 0.406f};
  std::array<float, 3> std{0.229f, 0.224f, 0.225f};
};

// Where one image is cut, in pixels of the resized image.
struct ImageCrop {
  std::int64_t top = 0, left = 0;
  bool flip = false;  // mirrored left to right after the crop
};

// torchvision's CenterCrop: round((resize - crop) / 2) on both sides, halves to even as Python
// does.
ImageCrop center_crop(const ImageTransform& transform);

// output [N, 3, crop, crop] fp32 channels_last from images [N, 3, H, H] U8 row-major (the planes of
// the CIFAR-10 files), crops: one per image. `crops` is copied.
void transform_images(Context& context, Tensor output, Tensor images,
                      std::span<const ImageCrop> crops, const ImageTransform& transform);

}  // namespace stagecoach
