#include "kernels/cpu/gemm.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "core/error.h"
#include "tests/kernels/reference_sums.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using cpu::Transpose;
using testing::random_tensor;

constexpr std::int64_t kM = 37, kN = 50, kK = 101;

OwnedTensor operand(Transpose transpose, std::int64_t rows, std::int64_t columns, int seed) {
  return random_tensor(
      transpose == Transpose::kYes ? row_major({columns, rows}) : row_major({rows, columns}),
      static_cast<std::uint64_t>(seed));
}

float element(Transpose transpose, const Tensor& matrix, std::int64_t row, std::int64_t column) {
  return transpose == Transpose::kYes ? testing::at(matrix, column, row)
                                      : testing::at(matrix, row, column);
}

void multiply(Transpose ta, Transpose tb, const Tensor& a, const Tensor& b, float beta,
              const Tensor& c) {
  cpu::sgemm(ta, tb, kM, kN, kK, {a.as<float>(), a.shape()[1]}, {b.as<float>(), b.shape()[1]}, beta,
             {c.as<float>(), kN});
}

TEST(GemmTest, MultipliesEveryCombinationOfTransposes) {
  for (const Transpose ta : {Transpose::kNo, Transpose::kYes}) {
    for (const Transpose tb : {Transpose::kNo, Transpose::kYes}) {
      for (const float beta : {0.0f, 1.0f}) {
        const OwnedTensor a = operand(ta, kM, kK, 1), b = operand(tb, kK, kN, 2);
        const OwnedTensor c = random_tensor(row_major({kM, kN}), 3);
        testing::ReferenceSums sums(c.tensor.spec);
        for (std::int64_t i = 0; i < kM; ++i) {
          for (std::int64_t j = 0; j < kN; ++j) {
            sums.add(i * kN + j, static_cast<double>(beta) * testing::at(c.tensor, i, j));
            for (std::int64_t k = 0; k < kK; ++k) {
              sums.add(i * kN + j, static_cast<double>(element(ta, a.tensor, i, k)) *
                                       element(tb, b.tensor, k, j));
            }
          }
        }
        multiply(ta, tb, a.tensor, b.tensor, beta, c.tensor);
        testing::expect_sums(c.tensor, sums);
      }
    }
  }
}

TEST(GemmTest, ManyThreadsAtOnceGetTheSameBits) {
  const OwnedTensor a = operand(Transpose::kNo, kM, kK, 1), b = operand(Transpose::kNo, kK, kN, 2);
  std::vector<OwnedTensor> results;
  for (int i = 0; i < 4; ++i) results.emplace_back(row_major({kM, kN}));
  {
    std::vector<std::jthread> threads;
    for (const OwnedTensor& result : results) {
      threads.emplace_back([&] {
        for (int repeat = 0; repeat < 50; ++repeat) {
          multiply(Transpose::kNo, Transpose::kNo, a.tensor, b.tensor, 0.0f, result.tensor);
        }
      });
    }
  }
  for (const OwnedTensor& result : results) {
    EXPECT_EQ(testing::bytes_of(result.tensor), testing::bytes_of(results[0].tensor));
  }
}

TEST(GemmTest, RefusesSizesThatTheLibraryCannotCount) {
  const std::int64_t large = std::int64_t{1} << 33;
  EXPECT_THROW(cpu::sgemm(Transpose::kNo, Transpose::kNo, large, 1, 1, {nullptr, 1}, {nullptr, 1},
                          0.0f, {nullptr, 1}),
               Error);
}

TEST(GemmTest, NamesTheLibrary) {
  EXPECT_EQ(cpu::gemm_library().rfind("OpenBLAS ", 0), 0u) << cpu::gemm_library();
}

}  // namespace
}  // namespace stagecoach
