#include "kernels/cuda/conv2d_packing.h"

#include <gtest/gtest.h>

namespace stagecoach::cuda {
namespace {

// AlexNet's first convolution, of 32 images.
ConvProblem alexnet_first(Precision precision) {
  return {.kind = ConvKind::kForwardRelu,
          .precision = precision,
          .n = 32,
          .c = 3,
          .h = 224,
          .w = 224,
          .o = 64,
          .kh = 11,
          .kw = 11,
          .stride_h = 4,
          .stride_w = 4,
          .padding_h = 2,
          .padding_w = 2};
}

TEST(Conv2dPacking, AStrideBecomesBlocks) {
  for (const Precision precision : {Precision::kBf16, Precision::kTf32}) {
    const ConvProblem given = alexnet_first(precision);
    EXPECT_EQ(packing_block(given), 4);
    const ConvProblem packed = packed_problem(given);
    EXPECT_EQ(packed.key(), "forward_relu " + std::string(name_of(precision)) +
                                " deterministic x=32,48,57,57 w=64,48,3,3 stride=1,1 padding=0,0");
    EXPECT_EQ(packed.out_h(), given.out_h());
    EXPECT_EQ(packed.out_w(), given.out_w());
  }
}

TEST(Conv2dPacking, StrictFp32IsLeftAsItIs) {
  const ConvProblem given = alexnet_first(Precision::kFp32);
  EXPECT_EQ(packing_block(given), 0);
  EXPECT_EQ(packed_problem(given).key(), given.key());
}

TEST(Conv2dPacking, WithoutAStrideBf16GetsChannelsOfZeros) {
  ConvProblem given = alexnet_first(Precision::kBf16);
  given.stride_h = given.stride_w = 1;
  ConvProblem expected = given;
  expected.c = 8;
  EXPECT_EQ(packing_block(given), 1);
  EXPECT_EQ(packed_problem(given).key(), expected.key());
  given.precision = Precision::kTf32;
  EXPECT_EQ(packed_problem(given).key(), given.key());
}

TEST(Conv2dPacking, SuitableChannelsAreLeftAsTheyAre) {
  ConvProblem given = alexnet_first(Precision::kTf32);
  given.c = 4;
  EXPECT_EQ(packed_problem(given).key(), given.key());
  given = alexnet_first(Precision::kBf16);
  given.c = 16;
  EXPECT_EQ(packed_problem(given).key(), given.key());
}

TEST(Conv2dPacking, BlocksAreNotMadeTooLargeOrUneven) {
  ConvProblem large = alexnet_first(Precision::kBf16);
  large.c = 5;  // 80 channels
  EXPECT_EQ(packing_block(large), 1);
  EXPECT_EQ(packed_problem(large).c, 8);
  for (auto member : {&ConvProblem::stride_h, &ConvProblem::padding_w}) {
    ConvProblem uneven = alexnet_first(Precision::kBf16);
    uneven.*member = 3;
    EXPECT_EQ(packing_block(uneven), 1);
    EXPECT_EQ(packed_problem(uneven).c, 8);
    EXPECT_EQ(packed_problem(uneven).stride_w, 4);
  }
}

// Every output of the packed convolution is one of the given convolution, and the other way round.
TEST(Conv2dPacking, KeepsTheOutputsSizes) {
  for (std::int64_t side = 11; side < 40; ++side) {
    for (std::int64_t kernel = 1; kernel <= 11; ++kernel) {
      for (std::int64_t stride = 1; stride <= 4; ++stride) {
        ConvProblem given = alexnet_first(Precision::kBf16);
        given.h = side;
        given.kh = kernel;
        given.stride_h = given.stride_w = stride;
        const ConvProblem packed = packed_problem(given);
        ASSERT_EQ(packed.out_h(), given.out_h()) << given.key();
        ASSERT_EQ(packed.out_w(), given.out_w()) << given.key();
      }
    }
  }
}

}  // namespace
}  // namespace stagecoach::cuda
