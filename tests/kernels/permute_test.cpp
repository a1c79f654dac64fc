#include "kernels/permute.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::at;
using testing::bytes_of;
using testing::random_tensor;
using testing::run_on_context;

class PermuteTest : public ::testing::TestWithParam<Shape> {};

TensorSpec with(const Shape& shape, MemoryFormat format) {
  return {DType::kF32, shape, format};
}

TEST_P(PermuteTest, KeepsEveryLogicalElement) {
  const Shape& shape = GetParam();
  for (const MemoryFormat from : {MemoryFormat::kRowMajor, MemoryFormat::kChannelsLast}) {
    for (const MemoryFormat to : {MemoryFormat::kRowMajor, MemoryFormat::kChannelsLast}) {
      const OwnedTensor input = random_tensor(with(shape, from), 1);
      const OwnedTensor output(with(shape, to));
      run_on_context(
          2, [&](Context& context) { permute_format(context, output.tensor, input.tensor); });
      for (std::int64_t n = 0; n < shape[0]; ++n)
        for (std::int64_t c = 0; c < shape[1]; ++c)
          for (std::int64_t h = 0; h < shape[2]; ++h)
            for (std::int64_t w = 0; w < shape[3]; ++w)
              ASSERT_EQ(at(output.tensor, n, c, h, w), at(input.tensor, n, c, h, w))
                  << n << " " << c << " " << h << " " << w;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, PermuteTest,
                         ::testing::Values(Shape{1, 1, 1, 1}, Shape{2, 3, 5, 7}, Shape{3, 64, 6, 6},
                                           Shape{2, 33, 31, 2}, Shape{1, 7, 300, 301},
                                           Shape{0, 3, 2, 2}, Shape{2, 100, 1, 1}));

TEST(PermuteErrorTest, NamesWhatIsWrong) {
  const OwnedTensor a = random_tensor(channels_last(2, 3, 4, 5), 1);
  const OwnedTensor b = random_tensor(row_major({2, 3, 4, 6}), 1);
  const OwnedTensor flat = random_tensor(row_major({2, 3}), 1);
  Context context;
  const auto message = [&](const Tensor& output, const Tensor& input) -> std::string {
    try {
      permute_format(context, output, input);
    } catch (const Error& error) {
      return error.message();
    }
    return "no error";
  };
  EXPECT_EQ(message(b.tensor, a.tensor),
            "permute_format: expected output F32 [2, 3, 4, 5], got F32 [2, 3, 4, 6]");
  EXPECT_EQ(message(flat.tensor, flat.tensor),
            "permute_format: expected input of rank 4, got F32 [2, 3]");
  EXPECT_EQ(message(a.tensor, a.tensor),
            "permute_format: expected output beside the input, got both in the same memory");
}

}  // namespace
}  // namespace stagecoach
