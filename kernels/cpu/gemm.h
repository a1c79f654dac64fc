// Matrix multiplication by OpenBLAS, on the calling thread alone.
#pragma once

#include <cstdint>
#include <string>

namespace stagecoach::cpu {

enum class Transpose { kNo, kYes };

// A row-major matrix: `stride` elements from one row to the next.
template <typename T>
struct Matrix {
  T* data;
  std::int64_t stride;
};

// c [m, n] = a b + beta c, where a is [m, k] and b [k, n] after transposing. beta 0 does not read
// c. May be called by many threads at once; the same call gives the same bits on every thread.
void sgemm(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n,
           std::int64_t k, Matrix<const float> a, Matrix<const float> b, float beta,
           Matrix<float> c);

// The library and the kernels that it picked for this processor: "OpenBLAS 0.3.21 SkylakeX".
std::string gemm_library();

}  // namespace stagecoach::cpu
