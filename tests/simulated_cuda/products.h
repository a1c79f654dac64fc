// What the simulated cuBLASLt cannot do, for tests of what happens then.
#pragma once

#include <functional>

#include "kernels/cuda/matrix_product.h"

namespace simulated {

// Whether there is no algorithm for a product; none set: there is one for each.
inline std::function<bool(const stagecoach::cuda::MatrixProduct&)> refuses_product;

}  // namespace simulated
