#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"

namespace stagecoach::cuda {
namespace {

constexpr int kSize = kPack<float>;

__global__ void __launch_bounds__(kThreads)
    accumulate_kernel(std::int64_t elements, bool packed, float* sum, const float* addend) {
  for (std::int64_t i = first_item(); i * kSize < elements; i += item_stride()) {
    const std::int64_t place = i * kSize, count = elements - place;
    Pack<float, kSize> sums = load<float, kSize>(sum + place, count, packed);
    const Pack<float, kSize> addends = load<float, kSize>(addend + place, count, packed);
    for (int k = 0; k < kSize; ++k) sums.values[k] += addends.values[k];
    store(sum + place, sums, count, packed);
  }
}

}  // namespace

void accumulate(Context& context, Tensor sum, Tensor addend) {
  float* to = sum.as<float>();
  const float* from = addend.as<float>();
  launch(context, groups_of(sum.elements(), kSize), accumulate_kernel, sum.elements(),
         aligned(to, from), to, from);
}

}  // namespace stagecoach::cuda
