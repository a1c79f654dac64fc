// What the simulated libraries cannot do, and what they take, for tests of what happens then.
#pragma once

#include <cstdint>
#include <functional>

#include "kernels/cuda/matrix_product.h"

namespace simulated {

// Whether there is no algorithm for a product; none set: there is one for each.
inline std::function<bool(const stagecoach::cuda::MatrixProduct&)> refuses_product;

// Memory of the GPU that each library takes with each context.
inline std::int64_t library_bytes = 0;

}  // namespace simulated
