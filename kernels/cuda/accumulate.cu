#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"

namespace stagecoach::cuda {
namespace {

__global__ void __launch_bounds__(kThreads)
    accumulate_kernel(std::int64_t elements, bool packed, float* sum, const float* addend) {
  for (std::int64_t i = first_item(); i * kFloats < elements; i += item_stride()) {
    const std::int64_t place = i * kFloats, count = elements - place;
    Pack<float, kFloats> sums = load<float, kFloats>(sum + place, count, packed);
    const Pack<float, kFloats> addends = load<float, kFloats>(addend + place, count, packed);
    for (int k = 0; k < kFloats; ++k) sums.values[k] += addends.values[k];
    store(sum + place, sums, count, packed);
  }
}

}  // namespace

void accumulate(Context& context, Tensor sum, Tensor addend) {
  float* to = sum.as<float>();
  const float* from = addend.as<float>();
  launch(context, groups_of(sum.elements(), kFloats), accumulate_kernel, sum.elements(),
         aligned(to, from), to, from);
}

}  // namespace stagecoach::cuda
