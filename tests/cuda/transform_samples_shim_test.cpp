// Batches that a GPU makes of the images in its memory, against transform_images().
#include <gtest/gtest.h>

#include <optional>

#include "kernels/resident_images.h"
#include "tests/cuda/both.h"
#include "tests/kernels/checks.h"

namespace stagecoach {
namespace {

using testing::Gpu;
using testing::same_values;

struct Case {
  std::int64_t side, resize, crop;
};

constexpr std::int64_t kCount = 5;  // images in memory
constexpr std::uint8_t kLabels[kCount] = {3, 9, 0, 255, 7};

class TransformSamplesShim : public ::testing::TestWithParam<Case> {
 protected:
  TransformSamplesShim() {
    const auto [side, resize, crop] = GetParam();
    auto* bytes = all.tensor.as<std::uint8_t>();
    const RandomStream stream{77, RandomUse::kSyntheticData};
    for (std::int64_t i = 0; i < all.tensor.elements(); ++i) {
      // Noise, and areas of 0 and 255, the ends of the range that sums are cut to.
      const std::uint32_t word = stream.word(static_cast<std::uint64_t>(i));
      bytes[i] = static_cast<std::uint8_t>(i / 16 % 4 == 0 ? 255 : i / 16 % 4 == 1 ? 0 : word);
    }
    transform = {.resize = resize, .crop = crop};
    const auto last = static_cast<std::int32_t>(resize - crop);
    // Image, top, left, flip; one image twice, not all of them.
    samples = {4, 0, 0, 0, 1, last, last / 2, 1, 1, last, last, 0, 3, last / 3, 0, 1};
    count = std::ssize(samples) / 4;
    images.emplace(gpu.context(), kCount, side, bytes, kLabels, transform);
    labels = gpu.make(row_major({count}, DType::kI32));
    table = gpu.put(samples);
    table.spec = row_major({count, 4}, DType::kI32);
  }

  Tensor transformed(DType dtype) {
    const TensorSpec spec = channels_last(count, 3, transform.crop, transform.crop, dtype);
    // Every value must be written.
    Tensor output = gpu.put(std::vector<float>(static_cast<std::size_t>(spec.elements()), 7.0f));
    output.spec = spec;
    transform_samples(gpu.context(), output, labels, *images, table);
    return output;
  }

  const OwnedTensor all{row_major({kCount, 3, GetParam().side, GetParam().side}, DType::kU8)};
  ImageTransform transform;
  std::vector<std::int32_t> samples;
  std::int64_t count = 0;
  Gpu gpu;
  std::optional<ResidentImages> images;
  Tensor labels, table;
};

TEST_P(TransformSamplesShim, IsTransformImages) {
  const auto [side, resize, crop] = GetParam();
  const OwnedTensor chosen(row_major({count, 3, side, side}, DType::kU8));
  std::vector<ImageCrop> crops;
  std::vector<float> expected_labels;
  for (std::int64_t n = 0; n < count; ++n) {
    const std::int32_t* sample = samples.data() + 4 * n;
    std::memcpy(rows_of(chosen.tensor, n, 1).data, rows_of(all.tensor, sample[0], 1).data,
                static_cast<std::size_t>(3 * side * side));
    crops.push_back({sample[1], sample[2], sample[3] != 0});
    expected_labels.push_back(kLabels[sample[0]]);
  }
  const OwnedTensor expected(channels_last(count, 3, crop, crop));
  testing::run_on_context(1, [&](Context& context) {
    transform_images(context, expected.tensor, chosen.tensor, crops, transform);
  });

  std::vector<float> values = testing::values_of(expected.tensor);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    if (dtype == DType::kBF16) {
      for (float& value : values) value = static_cast<float>(BFloat16(value));
    }
    EXPECT_TRUE(same_values(gpu.get(transformed(dtype)), values)) << name_of(dtype);
    EXPECT_EQ(gpu.get(labels), expected_labels);
  }
}

TEST_P(TransformSamplesShim, RefusesAnotherOutput) {
  const std::int64_t crop = transform.crop;
  for (const TensorSpec& spec :
       {channels_last(count, 8, crop, crop), channels_last(count, 3, crop, crop + 1)}) {
    const Tensor output = gpu.make(spec);
    testing::expect_error([&] { transform_samples(gpu.context(), output, labels, *images, table); },
                          {"transform_samples", "output F32 [4, 3"});
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, TransformSamplesShim,
                         ::testing::Values(Case{32, 256, 224}, Case{32, 36, 32}, Case{32, 32, 32},
                                           Case{61, 36, 31}, Case{61, 18, 16}, Case{9, 40, 35},
                                           Case{1, 5, 3}, Case{32, 300, 264}, Case{400, 20, 16}));

}  // namespace
}  // namespace stagecoach
