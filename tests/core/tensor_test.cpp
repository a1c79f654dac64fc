#include "core/tensor.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/error.h"

namespace stagecoach {
namespace {

TEST(DType, SizesAndNames) {
  EXPECT_EQ(size_of(DType::kF32), 4);
  EXPECT_EQ(size_of(DType::kI32), 4);
  EXPECT_EQ(size_of(DType::kBF16), 2);
  EXPECT_EQ(size_of(DType::kU8), 1);
  EXPECT_EQ(name_of(DType::kF32), "F32");
  EXPECT_EQ(name_of(DType::kBF16), "BF16");
  EXPECT_EQ(name_of(DType::kU8), "U8");
  EXPECT_EQ(name_of(DType::kI32), "I32");
}

TEST(Device, Names) {
  EXPECT_EQ(Device().to_string(), "cpu");
  EXPECT_EQ((Device{DeviceType::kCuda, 3}.to_string()), "cuda:3");
}

TEST(TensorSpec, BytesAndText) {
  const TensorSpec images = channels_last(8, 3, 224, 224);
  EXPECT_EQ(images.bytes(), 4 * 8 * 3 * 224 * 224);
  EXPECT_EQ(images.to_string(), "F32 [8, 3, 224, 224] channels_last");
  const TensorSpec labels = row_major({8}, DType::kU8);
  EXPECT_EQ(labels.bytes(), 8);
  EXPECT_EQ(labels.to_string(), "U8 [8]");
}

TEST(TensorSpec, TheFormatIsPartOfIt) {
  EXPECT_NE(channels_last(1, 2, 3, 4), row_major({1, 2, 3, 4}));
  EXPECT_NE(row_major({4}), row_major({4}, DType::kI32));
  EXPECT_EQ(channels_last(1, 2, 3, 4), channels_last(1, 2, 3, 4));
}

TEST(Tensor, GivesItsElementsByTheirTypeOnly) {
  float values[2] = {1.0f, 2.0f};
  const Tensor tensor{values, row_major({2}), {}};
  EXPECT_TRUE(tensor.defined());
  EXPECT_EQ(tensor.as<float>()[1], 2.0f);
  EXPECT_THROW(tensor.as<std::int32_t>(), Error);
  EXPECT_THROW(tensor.as<std::uint8_t>(), Error);
  EXPECT_FALSE(Tensor().defined());
}

TEST(RowsOf, IsAViewOfTheSameMemory) {
  float values[24] = {};
  const Tensor images{values, channels_last(4, 3, 2, 1), {}};
  const Tensor rows = rows_of(images, 1, 2);
  EXPECT_EQ(rows.spec, channels_last(2, 3, 2, 1));
  EXPECT_EQ(rows.data, values + 6);
  EXPECT_EQ(rows_of(images, 0, 4).spec, images.spec);
  EXPECT_EQ(rows_of(rows, 1, 1).data, values + 12);
  const Tensor labels{values, row_major({24}, DType::kI32), {}};
  EXPECT_EQ(rows_of(labels, 23, 1).data, values + 23);
  EXPECT_EQ(rows_of(labels, 23, 1).spec, row_major({1}, DType::kI32));
}

TEST(RowsOf, RefusesRowsThatAreNotThere) {
  float values[6] = {};
  const Tensor tensor{values, row_major({3, 2}), {}};
  EXPECT_THROW(rows_of(tensor, 2, 2), Error);
  EXPECT_THROW(rows_of(tensor, -1, 2), Error);
  EXPECT_THROW(rows_of(tensor, 1, 0), Error);
  EXPECT_THROW(rows_of(tensor, 1, std::numeric_limits<std::int64_t>::max()), Error);
  EXPECT_THROW(rows_of(Tensor(), 0, 1), Error);
  EXPECT_THROW(rows_of({values, row_major({}), {}}, 0, 1), Error);
  try {
    rows_of(tensor, 2, 2);
  } catch (const Error& error) {
    EXPECT_EQ(error.message(),
              "rows_of: expected a tensor with 2 rows from row 2 on, got F32 [3, 2]");
  }
}

TEST(TensorSpec, RefusesToCountMoreBytesThanFit) {
  const TensorSpec spec = row_major({std::int64_t{1} << 32, std::int64_t{1} << 30});
  EXPECT_EQ(spec.elements(), std::int64_t{1} << 62);
  EXPECT_THROW(spec.bytes(), Error);  // 0 in 64 bits
}

}  // namespace
}  // namespace stagecoach
