#include "core/shape.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace stagecoach {
namespace {

TEST(Shape, DimensionsAndElements) {
  const Shape shape = {8, 3, 224, 224};
  EXPECT_EQ(shape.rank(), 4);
  EXPECT_EQ(shape[0], 8);
  EXPECT_EQ(shape[3], 224);
  EXPECT_EQ(shape.elements(), 8 * 3 * 224 * 224);
  EXPECT_EQ(shape.to_string(), "[8, 3, 224, 224]");
}

TEST(Shape, RankZeroHasOneElement) {
  EXPECT_EQ(Shape().rank(), 0);
  EXPECT_EQ(Shape().elements(), 1);
  EXPECT_EQ(Shape().to_string(), "[]");
}

TEST(Shape, ADimensionMayBeZero) {
  EXPECT_EQ(Shape({4, 0, 2}).elements(), 0);
}

TEST(Shape, ElementsBeyond32Bits) {
  EXPECT_EQ(Shape({65536, 65536, 4}).elements(), std::int64_t{1} << 34);
}

TEST(Shape, EqualityIsOfRankAndDimensions) {
  EXPECT_EQ(Shape({2, 3}), Shape({2, 3}));
  EXPECT_NE(Shape({2, 3}), Shape({3, 2}));
  EXPECT_NE(Shape({2}), Shape({2, 0}));
  EXPECT_NE(Shape({2}), Shape({2, 1}));
}

TEST(Shape, WithAnotherDimension) {
  const Shape shape = {8, 3, 5};
  EXPECT_EQ(shape.with(0, 2), Shape({2, 3, 5}));
  EXPECT_EQ(shape.with(2, 0), Shape({8, 3, 0}));
  EXPECT_EQ(shape, Shape({8, 3, 5}));
  EXPECT_THROW(shape.with(3, 1), Error);
  EXPECT_THROW(shape.with(-1, 1), Error);
  EXPECT_THROW(shape.with(0, -1), Error);
  EXPECT_THROW(Shape().with(0, 1), Error);
}

TEST(Shape, RefusesWhatIsNone) {
  EXPECT_THROW(Shape({1, 2, 3, 4, 5}), Error);
  EXPECT_THROW(Shape({2, -1}), Error);
  const Shape shape = {2, 3};
  EXPECT_THROW(shape[2], Error);
  EXPECT_THROW(shape[-1], Error);
}

TEST(Shape, RefusesToCountMoreElementsThanFit) {
  const std::int64_t large = std::int64_t{1} << 32;
  EXPECT_EQ(Shape({large, large / 4}).elements(), std::int64_t{1} << 62);
  EXPECT_THROW(Shape({large, large}).elements(), Error);  // 0 in 64 bits
  EXPECT_THROW(Shape({large, large / 2}).elements(), Error);
  EXPECT_EQ(Shape({large, large, 0}).elements(), 0);
}

}  // namespace
}  // namespace stagecoach
