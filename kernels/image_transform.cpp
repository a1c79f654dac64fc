#include "kernels/image_transform.h"

#include <cmath>
#include <vector>

#include "core/error.h"
#include "kernels/backend.h"

namespace stagecoach {
namespace {

constexpr const char* kName = "transform_images";

void check_transform(const ImageTransform& transform) {
  STAGECOACH_CHECK(transform.crop >= 1 && transform.crop <= transform.resize, kName,
                   "1 <= crop <= resize",
                   fmt::format("crop {}, resize {}", transform.crop, transform.resize));
  for (const float deviation : transform.std) {
    STAGECOACH_CHECK(deviation > 0.0f, kName, "std > 0", fmt::format("std {}", deviation));
  }
}

void check_crops(std::span<const ImageCrop> crops, std::int64_t images,
                 const ImageTransform& transform) {
  STAGECOACH_CHECK(std::ssize(crops) == images, kName, fmt::format("{} crops", images),
                   fmt::format("{} crops", crops.size()));
  const std::int64_t last = transform.resize - transform.crop;
  for (std::size_t i = 0; i < crops.size(); ++i) {
    const auto& [top, left, flip] = crops[i];
    STAGECOACH_CHECK(top >= 0 && top <= last && left >= 0 && left <= last, kName,
                     fmt::format("top and left from 0 to {}", last),
                     fmt::format("top {}, left {} for image {}", top, left, i));
  }
}

}  // namespace

ImageCrop center_crop(const ImageTransform& transform) {
  const auto margin = static_cast<double>(transform.resize - transform.crop);
  const auto start = static_cast<std::int64_t>(std::nearbyint(margin / 2.0));
  return {.top = start, .left = start, .flip = false};
}

void transform_images(Context& context, Tensor output, Tensor images,
                      std::span<const ImageCrop> crops, const ImageTransform& transform) {
  STAGECOACH_CHECK(context.device().type == DeviceType::kCpu, kName, "a context on the CPU",
                   context.device().to_string(), "transform_samples() is its counterpart on a GPU");
  check_transform(transform);
  const TensorSpec& spec = images.spec;
  STAGECOACH_CHECK(spec.dtype == DType::kU8 && spec.shape.rank() == 4 && spec.shape[1] == 3 &&
                       spec.shape[2] == spec.shape[3] && spec.shape[2] >= 1 &&
                       spec.format == MemoryFormat::kRowMajor,
                   kName, "images U8 [N, 3, H, H] row_major", spec.to_string());
  const std::int64_t count = spec.shape[0];
  check_tensor(context, kName, "images", images, spec);
  check_tensor(context, kName, "output", output,
               channels_last(count, 3, transform.crop, transform.crop));
  check_crops(crops, count, transform);
  backend_of(context).transform_images(context, output, images, crops, transform);
}

}  // namespace stagecoach
