#include "kernels/cpu/gemm.h"

#include <cblas.h>

#include <algorithm>
#include <limits>
#include <mutex>
#include <sstream>

#include "core/error.h"

namespace stagecoach::cpu {
namespace {

// OpenBLAS would start threads of its own beside the pool's, and cut sums by their number.
void use_one_thread() {
  static std::once_flag once;
  std::call_once(once, [] { openblas_set_num_threads(1); });
}

CBLAS_TRANSPOSE cblas(Transpose transpose) {
  return transpose == Transpose::kYes ? CblasTrans : CblasNoTrans;
}

}  // namespace

void sgemm(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n,
           std::int64_t k, Matrix<const float> a, Matrix<const float> b, float beta,
           Matrix<float> c) {
  use_one_thread();
  const std::int64_t largest = std::max({m, n, k, a.stride, b.stride, c.stride});
  STAGECOACH_CHECK(largest <= std::numeric_limits<blasint>::max(), "sgemm",
                   fmt::format("sizes <= {}", std::numeric_limits<blasint>::max()),
                   fmt::format("{}", largest));
  const auto size = [](std::int64_t value) { return static_cast<blasint>(value); };
  cblas_sgemm(CblasRowMajor, cblas(transpose_a), cblas(transpose_b), size(m), size(n), size(k),
              1.0f, a.data, size(a.stride), b.data, size(b.stride), beta, c.data, size(c.stride));
}

std::string gemm_library() {
  // "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ..."
  std::istringstream config(openblas_get_config());
  std::string name, version;
  config >> name >> version;
  return name + " " + version + " " + openblas_get_corename();
}

}  // namespace stagecoach::cpu
