#include "kernels/image_transform.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::at;
using testing::bytes_of;
using testing::expect_error;
using testing::expect_same_bytes_everywhere;
using testing::run_on_context;

// The tensors that scripts/make_image_golden.py wrote. Reads only what that file has: the general
// reader of safetensors is a floor above this one.
class GoldenFile {
 public:
  GoldenFile() {
    std::ifstream file(STAGECOACH_TEST_DATA "/image_golden.safetensors", std::ios::binary);
    content_.assign(std::istreambuf_iterator<char>(file), {});
    if (content_.size() < 8) throw Error("golden file", "tensors", "nothing");
    std::uint64_t size = 0;
    std::memcpy(&size, content_.data(), 8);
    header_ = content_.substr(8, size);
  }

  // Fills `tensor`, which must have as many bytes.
  void read(const std::string& name, const Tensor& tensor) const {
    const std::size_t entry = header_.find("\"" + name + "\":{");
    STAGECOACH_CHECK(entry != std::string::npos, "golden file", name, "no such tensor");
    const std::string key = "\"data_offsets\":[";
    const char* offsets = header_.c_str() + header_.find(key, entry) + key.size();
    char* comma = nullptr;
    const std::size_t begin = std::strtoull(offsets, &comma, 10);
    const std::size_t end = std::strtoull(comma + 1, nullptr, 10);
    STAGECOACH_CHECK(static_cast<std::int64_t>(end - begin) == tensor.bytes(), "golden file",
                     tensor.spec.to_string(), fmt::format("{} bytes", end - begin));
    std::memcpy(tensor.data, content_.data() + 8 + header_.size() + begin, end - begin);
  }

 private:
  std::string content_, header_;
};

struct Case {
  std::string name;  // of the result in the golden file
  std::int64_t side, count, resize, crop;
  bool center = true;
  ImageCrop place = {};  // where `center` is false
};

// The names of the tests.
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

constexpr std::int64_t kImages = 3;  // in each input of the golden file

// The result for the first images of the golden input.
OwnedTensor transformed(const GoldenFile& golden, const Case& c, const ImageTransform& transform,
                        int threads = 2) {
  const OwnedTensor all(row_major({kImages, 3, c.side, c.side}, DType::kU8));
  golden.read(fmt::format("side{}", c.side), all.tensor);
  const Tensor images = all.buffer.view(row_major({c.count, 3, c.side, c.side}, DType::kU8));
  OwnedTensor output =
      testing::filled_tensor(channels_last(c.count, 3, c.crop, c.crop), std::nanf(""));
  const ImageCrop crop = c.center ? center_crop(transform) : c.place;
  run_on_context(threads, [&](Context& context) {
    const std::vector<ImageCrop> crops(static_cast<std::size_t>(c.count), crop);
    transform_images(context, output.tensor, images, crops, transform);
  });
  return output;
}

class ImageTransformTest : public ::testing::TestWithParam<Case> {};

TEST_P(ImageTransformTest, GivesTorchvisionsPixels) {
  const Case& c = GetParam();
  const GoldenFile golden;
  const OwnedTensor expected(row_major({c.count, 3, c.crop, c.crop}, DType::kU8));
  golden.read(c.name, expected.tensor);
  // Not normalised: multiples of 1 / 255.
  const OwnedTensor output = transformed(
      golden, c, {.resize = c.resize, .crop = c.crop, .mean = {0, 0, 0}, .std = {1, 1, 1}});
  const auto* pixel = expected.tensor.as<std::uint8_t>();
  for (std::int64_t n = 0; n < c.count; ++n)
    for (std::int64_t channel = 0; channel < 3; ++channel)
      for (std::int64_t h = 0; h < c.crop; ++h)
        for (std::int64_t w = 0; w < c.crop; ++w)
          ASSERT_EQ(at(output.tensor, n, channel, h, w), static_cast<float>(*pixel++) / 255.0f)
              << n << ", " << channel << ", " << h << ", " << w;
}

INSTANTIATE_TEST_SUITE_P(
    Golden, ImageTransformTest,
    ::testing::Values(
        Case{"side32_resize256_crop224_center", 32, 1, 256, 224},
        Case{"side32_resize256_crop224_at_5_32_flip", 32, 1, 256, 224, false, {5, 32, true}},
        Case{"side32_resize73_crop64_center", 32, 3, 73, 64},
        Case{"side32_resize36_crop32_center", 32, 3, 36, 32},
        Case{"side32_resize36_crop32_at_4_0_flip", 32, 3, 36, 32, false, {4, 0, true}},
        Case{"side32_resize37_crop33_center", 32, 3, 37, 33},
        Case{"side32_resize36_crop33_center", 32, 3, 36, 33},
        Case{"side32_resize36_crop31_center", 32, 3, 36, 31},
        Case{"side32_resize32_crop32_center", 32, 3, 32, 32},
        Case{"side32_resize32_crop30_at_2_1", 32, 3, 32, 30, false, {2, 1, false}},
        Case{"side32_resize18_crop16_center", 32, 3, 18, 16},
        Case{"side32_resize18_crop16_at_0_2_flip", 32, 3, 18, 16, false, {0, 2, true}},
        Case{"side32_resize5_crop3_center", 32, 3, 5, 3},
        Case{"side61_resize36_crop32_center", 61, 1, 36, 32},
        Case{"side61_resize73_crop64_at_9_3", 61, 1, 73, 64, false, {9, 3, false}}));

TEST(ImageTransform, NormalizesAsTorchvision) {
  const GoldenFile golden;
  const Case c{"side32_resize18_crop16_center_normalized", 32, 3, 18, 16};
  const OwnedTensor expected(row_major({3, 3, 16, 16}));
  golden.read(c.name, expected.tensor);
  const OwnedTensor output = transformed(golden, c, {.resize = 18, .crop = 16});
  for (std::int64_t n = 0; n < 3; ++n)
    for (std::int64_t channel = 0; channel < 3; ++channel)
      for (std::int64_t h = 0; h < 16; ++h)
        for (std::int64_t w = 0; w < 16; ++w)
          ASSERT_FLOAT_EQ(at(output.tensor, n, channel, h, w),
                          at(expected.tensor, n, channel, h, w));
}

TEST(ImageTransform, CutsEachImageAtItsPlace) {
  const GoldenFile golden;
  const OwnedTensor images(row_major({kImages, 3, 32, 32}, DType::kU8));
  golden.read("side32", images.tensor);
  const ImageTransform transform{.resize = 36, .crop = 32};
  const std::vector<ImageCrop> crops = {{0, 4, false}, {3, 1, true}, {4, 0, false}};
  const OwnedTensor together(channels_last(kImages, 3, 32, 32));
  run_on_context(2, [&](Context& context) {
    std::vector<ImageCrop> passing = crops;  // gone before the stream runs
    transform_images(context, together.tensor, images.tensor, passing, transform);
    std::fill(passing.begin(), passing.end(), ImageCrop{});
  });
  const std::int64_t image_bytes = together.tensor.bytes() / kImages;
  for (std::int64_t n = 0; n < kImages; ++n) {
    const OwnedTensor alone(channels_last(1, 3, 32, 32));
    const Tensor image = images.buffer.view(row_major({1, 3, 32, 32}, DType::kU8), n * 3 * 32 * 32);
    run_on_context(1, [&](Context& context) {
      transform_images(context, alone.tensor, image, std::span(crops).subspan(n, 1), transform);
    });
    EXPECT_EQ(bytes_of(alone.tensor),
              bytes_of(together.buffer.view(alone.tensor.spec, n * image_bytes)));
  }
}

TEST(ImageTransform, FlipMirrorsTheCrop) {
  const GoldenFile golden;
  const ImageTransform transform{.resize = 40, .crop = 35};
  const Case plain{"", 32, 3, 40, 35, false, {1, 3, false}};
  const Case mirrored{"", 32, 3, 40, 35, false, {1, 3, true}};
  const OwnedTensor a = transformed(golden, plain, transform);
  const OwnedTensor b = transformed(golden, mirrored, transform);
  for (std::int64_t n = 0; n < 3; ++n)
    for (std::int64_t c = 0; c < 3; ++c)
      for (std::int64_t h = 0; h < 35; ++h)
        for (std::int64_t w = 0; w < 35; ++w)
          ASSERT_EQ(at(a.tensor, n, c, h, w), at(b.tensor, n, c, h, 34 - w));
}

TEST(ImageTransform, CenterCropRoundsHalvesToEven) {
  const auto start = [](std::int64_t resize, std::int64_t crop) {
    const ImageCrop place = center_crop({.resize = resize, .crop = crop});
    EXPECT_EQ(place.left, place.top);
    EXPECT_FALSE(place.flip);
    return place.top;
  };
  EXPECT_EQ(start(256, 224), 16);
  EXPECT_EQ(start(36, 35), 0);
  EXPECT_EQ(start(36, 33), 2);
  EXPECT_EQ(start(36, 31), 2);
  EXPECT_EQ(start(36, 29), 4);
  EXPECT_EQ(start(32, 32), 0);
}

// Every byte, as it is divided.
TEST(ImageTransform, RoundsAsDivisionsDo) {
  constexpr std::int64_t kSide = 16;
  const OwnedTensor images(row_major({1, 3, kSide, kSide}, DType::kU8));
  for (int i = 0; i < 3 * 256; ++i) {
    images.tensor.as<std::uint8_t>()[i] = static_cast<std::uint8_t>(i);
  }
  testing::for_each_instruction_set([&](const std::string& name) {
    const ImageTransform transform{.resize = kSide, .crop = kSide};
    const OwnedTensor output(channels_last(1, 3, kSide, kSide));
    run_on_context(1, [&](Context& context) {
      const std::vector<ImageCrop> crops(1);
      transform_images(context, output.tensor, images.tensor, crops, transform);
    });
    for (std::int64_t i = 0; i < 3 * 256; ++i) {
      const auto c = static_cast<std::size_t>(i % 3);
      const float scaled = static_cast<float>(i / 3) / 255.0f;
      ASSERT_EQ(output.tensor.as<float>()[i], (scaled - transform.mean[c]) / transform.std[c])
          << name << ", byte " << i / 3 << ", channel " << c;
    }
  });
}

// Whole vectors and not, more pixels and fewer.
TEST(ImageTransform, GivesTheSameBytesEverywhere) {
  const GoldenFile golden;
  for (const Case& c : {Case{"", 32, 3, 73, 64}, Case{"", 32, 3, 41, 33, false, {7, 2, true}},
                        Case{"", 61, 3, 23, 21, false, {1, 0, true}}}) {
    expect_same_bytes_everywhere([&](int threads) {
      const ImageTransform transform{.resize = c.resize, .crop = c.crop};
      return bytes_of(transformed(golden, c, transform, threads).tensor);
    });
  }
}

TEST(ImageTransform, RefusesOtherArguments) {
  Context context;
  const OwnedTensor output(channels_last(2, 3, 8, 8)), images(row_major({2, 3, 5, 5}, DType::kU8));
  const ImageTransform transform{.resize = 9, .crop = 8};
  const std::vector<ImageCrop> crops(2);
  const auto expect = [&](const Tensor& to, const Tensor& from, std::span<const ImageCrop> places,
                          const ImageTransform& t, const char* part, const char* got) {
    expect_error([&] { transform_images(context, to, from, places, t); },
                 {"transform_images", part, got});
  };
  const Tensor to = output.tensor, from = images.tensor;
  expect(to, from, crops, {.resize = 7, .crop = 8}, "crop <= resize", "crop 8, resize 7");
  expect(to, from, crops, {.resize = 7, .crop = 0}, "1 <= crop", "crop 0");
  expect(to, from, crops, {.resize = 9, .crop = 8, .std = {1, 0, 1}}, "std > 0", "std 0");
  expect(to, from, std::span(crops).first(1), transform, "2 crops", "1 crops");
  const std::vector<ImageCrop> outside = {{0, 1, false}, {2, 0, false}};
  expect(to, from, outside, transform, "from 0 to 1", "top 2, left 0 for image 1");
  const std::vector<ImageCrop> before = {{0, -1, false}, {0, 0, false}};
  expect(to, from, before, transform, "from 0 to 1", "left -1 for image 0");
  expect(from, from, crops, transform, "output F32 [2, 3, 8, 8]", "U8");
  expect(to, to, crops, transform, "images U8", "F32");
  const OwnedTensor oblong(row_major({2, 3, 5, 6}, DType::kU8));
  expect(to, oblong.tensor, crops, transform, "[N, 3, H, H]", "[2, 3, 5, 6]");
}

}  // namespace
}  // namespace stagecoach
