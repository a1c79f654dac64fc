#include "kernels/cpu/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "kernels/cpu/instruction_set.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using cpu::Matrix;
using cpu::SumFrom;
using cpu::Transpose;
using testing::random_tensor;

struct Sizes {
  std::int64_t m, n, k;
};
// Less than a tile, at its edges, and more than one block of each dimension.
constexpr Sizes kSizes[] = {{1, 1, 1},     {6, 16, 8},    {12, 32, 1},   {13, 33, 7},
                            {37, 50, 101}, {5, 3, 600},   {97, 20, 257}, {100, 530, 30},
                            {18, 2601, 9}, {13, 8, 2500}, {9, 70, 1100}};

struct Product {
  Product(const Sizes& s, Transpose ta, Transpose tb)
      : sizes(s),
        transpose_a(ta),
        transpose_b(tb),
        a(random_tensor(ta == Transpose::kYes ? row_major({s.k, s.m}) : row_major({s.m, s.k}), 1)),
        b(random_tensor(tb == Transpose::kYes ? row_major({s.n, s.k}) : row_major({s.k, s.n}), 2)),
        c(random_tensor(row_major({s.m, s.n}), 3)) {}

  Matrix<const float> matrix(const OwnedTensor& of) const {
    return {of.tensor.as<float>(), of.tensor.shape()[1]};
  }
  static float element(Transpose transpose, const OwnedTensor& of, std::int64_t row,
                       std::int64_t column) {
    return transpose == Transpose::kYes ? testing::at(of.tensor, column, row)
                                        : testing::at(of.tensor, row, column);
  }
  // The chain that the header promises.
  std::vector<float> reference(SumFrom from) const {
    std::vector<float> sums;
    for (std::int64_t i = 0; i < sizes.m; ++i) {
      for (std::int64_t j = 0; j < sizes.n; ++j) {
        float sum = from == SumFrom::kZero ? 0.0f : testing::at(c.tensor, i, j);
        for (std::int64_t k = 0; k < sizes.k; ++k) {
          sum = std::fma(element(transpose_a, a, i, k), element(transpose_b, b, k, j), sum);
        }
        sums.push_back(sum);
      }
    }
    return sums;
  }
  std::vector<float> start() const {
    const float* values = c.tensor.as<float>();
    return {values, values + c.tensor.elements()};
  }
  std::vector<float> multiply(SumFrom from) const {
    std::vector<float> sums = start();
    cpu::sgemm(transpose_a, transpose_b, sizes.m, sizes.n, sizes.k, matrix(a), matrix(b), from,
               {sums.data(), sizes.n});
    return sums;
  }
  std::vector<float> multiply_packed(SumFrom from) const {
    std::vector<float> sums = start();
    OwnedTensor packed(row_major({cpu::packed_floats(sizes.k, sizes.n)}));
    cpu::pack(transpose_b, sizes.k, sizes.n, matrix(b), packed.tensor.as<float>());
    cpu::sgemm_packed(sizes.m, sizes.n, sizes.k, matrix(a), packed.tensor.as<float>(), from,
                      {sums.data(), sizes.n});
    return sums;
  }
  std::vector<float> multiply_streamed(SumFrom from) const {
    std::vector<float> sums = start();
    cpu::sgemm_streamed(sizes.m, sizes.n, sizes.k, matrix(a), matrix(b), from,
                        {sums.data(), sizes.n});
    return sums;
  }

  Sizes sizes;
  Transpose transpose_a, transpose_b;
  OwnedTensor a, b, c;
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class GemmTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { cpu::use_instruction_set(GetParam()); }
  void TearDown() override { cpu::use_instruction_set(""); }
};

TEST_P(GemmTest, EverySumIsOneChainOfMultiplyAdds) {
  for (const Sizes& sizes : kSizes) {
    for (const Transpose ta : {Transpose::kNo, Transpose::kYes}) {
      for (const Transpose tb : {Transpose::kNo, Transpose::kYes}) {
        const Product product(sizes, ta, tb);
        for (const SumFrom from : {SumFrom::kZero, SumFrom::kOutput}) {
          const std::vector<float> reference = product.reference(from);
          EXPECT_TRUE(same_bits(product.multiply(from), reference))
              << sizes.m << " x " << sizes.n << " x " << sizes.k;
          if (ta == Transpose::kYes) continue;
          EXPECT_TRUE(same_bits(product.multiply_packed(from), reference))
              << sizes.m << " x " << sizes.n << " x " << sizes.k << " packed";
        }
      }
    }
  }
}

TEST_P(GemmTest, APackedMatrixLiesAsItsLayoutSays) {
  for (const Sizes& sizes : kSizes) {
    const Product product(sizes, Transpose::kNo, Transpose::kNo);
    const OwnedTensor packed =
        testing::filled_tensor(row_major({cpu::packed_floats(sizes.k, sizes.n)}), -1.0f);
    cpu::pack(Transpose::kNo, sizes.k, sizes.n, product.matrix(product.b),
              packed.tensor.as<float>());
    const cpu::PackedLayout layout = cpu::packed_layout(sizes.k, sizes.n);
    for (std::int64_t k = 0; k < sizes.k; ++k) {
      for (std::int64_t n = 0; n < sizes.n; ++n) {
        ASSERT_EQ(packed.tensor.as<float>()[layout.at(k, n)], testing::at(product.b.tensor, k, n))
            << sizes.k << " x " << sizes.n << ": " << k << ", " << n;
      }
    }
  }
}

TEST_P(GemmTest, StreamsTheSameChains) {
  for (const Sizes& sizes : kSizes) {
    const Product product(sizes, Transpose::kNo, Transpose::kNo);
    for (const SumFrom from : {SumFrom::kZero, SumFrom::kOutput}) {
      EXPECT_TRUE(same_bits(product.multiply_streamed(from), product.reference(from)))
          << sizes.m << " x " << sizes.n << " x " << sizes.k;
    }
  }
}

// As an image lies under a window that moves: windows overlap, and so do their rows.
TEST_P(GemmTest, RunsAreTheSameChains) {
  struct Shape {
    std::int64_t m, n, runs;
    cpu::RunsMatrix a;
  };
  const OwnedTensor memory = random_tensor(row_major({3000}), 1);
  for (const Shape& s : {Shape{1, 16, 1, {nullptr, 0, 1, 0, 1}},
                         {13, 48, 3, {nullptr, 6, 9, 50, 1}},
                         {33, 64, 7, {nullptr, 1, 5, 90, 12}},
                         {25, 80, 2, {nullptr, 12, 33, 300, 1}}}) {
    const std::int64_t depth = s.runs * s.a.run;
    const OwnedTensor b = random_tensor(row_major({depth, s.n}), 2);
    const OwnedTensor c = random_tensor(row_major({s.m, s.n}), 3);
    cpu::RunsMatrix a = s.a;
    a.data = memory.tensor.as<float>();
    for (const SumFrom from : {SumFrom::kZero, SumFrom::kOutput}) {
      std::vector<float> expected, sums(c.tensor.as<float>(), c.tensor.as<float>() + s.m * s.n);
      for (std::int64_t i = 0; i < s.m * s.n; ++i) {
        float sum = from == SumFrom::kZero ? 0.0f : sums[static_cast<std::size_t>(i)];
        for (std::int64_t k = 0; k < depth; ++k) {
          const float x = a.data[i / s.n * a.row + k / a.run * a.run_step + k % a.run * a.step];
          sum = std::fma(x, testing::at(b.tensor, k, i % s.n), sum);
        }
        expected.push_back(sum);
      }
      cpu::sgemm_runs(s.m, s.n, depth, a, {b.tensor.as<float>(), s.n}, from, {sums.data(), s.n});
      EXPECT_TRUE(same_bits(sums, expected)) << s.m << " x " << s.n << " x " << depth;
    }
  }
}

TEST_P(GemmTest, WritesNothingBesideItsOutput) {
  constexpr std::int64_t kStride = 40;
  const Product product({7, 17, 5}, Transpose::kNo, Transpose::kNo);
  std::vector<float> sums(7 * kStride, -1.0f);
  cpu::sgemm(Transpose::kNo, Transpose::kNo, 7, 17, 5, product.matrix(product.a),
             product.matrix(product.b), SumFrom::kZero, {sums.data(), kStride});
  const std::vector<float> reference = product.reference(SumFrom::kZero);
  for (std::int64_t i = 0; i < 7; ++i) {
    for (std::int64_t j = 0; j < kStride; ++j) {
      EXPECT_EQ(sums[i * kStride + j], j < 17 ? reference[i * 17 + j] : -1.0f) << i << " " << j;
    }
  }
}

TEST_P(GemmTest, ManyThreadsAtOnceGetTheSameBits) {
  const Product product({37, 50, 101}, Transpose::kNo, Transpose::kNo);
  const std::vector<float> reference = product.reference(SumFrom::kZero);
  std::vector<std::vector<float>> results(4);
  {
    std::vector<std::jthread> threads;
    for (std::vector<float>& result : results) {
      threads.emplace_back([&] {
        for (int repeat = 0; repeat < 20; ++repeat) result = product.multiply(SumFrom::kZero);
      });
    }
  }
  for (const std::vector<float>& result : results) EXPECT_TRUE(same_bits(result, reference));
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, GemmTest, ::testing::ValuesIn(cpu::instruction_sets()),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace stagecoach
