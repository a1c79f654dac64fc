#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.h"

namespace stagecoach::cuda {
namespace {

template <typename T>
__global__ void __launch_bounds__(kThreads)
    add_kernel(std::int64_t elements, bool packed, T* output, const T* a, const T* b) {
  constexpr int kSize = kPack<T>;
  for (std::int64_t i = first_item(); i * kSize < elements; i += item_stride()) {
    const std::int64_t place = i * kSize, count = elements - place;
    const Pack<T, kSize> ones = load<T, kSize>(a + place, count, packed);
    const Pack<T, kSize> others = load<T, kSize>(b + place, count, packed);
    float sums[kSize];
    for (int k = 0; k < kSize; ++k)
      sums[k] = static_cast<float>(ones.values[k]) + static_cast<float>(others.values[k]);
    store(output + place, rounded<T>(sums), count, packed);
  }
}

}  // namespace

void CudaBackend::add(Context& context, Tensor output, Tensor a, Tensor b) const {
  const std::int64_t elements = a.elements();
  with_element_type(a.spec.dtype, [&]<typename T>(T) {
    T* to = output.as<T>();
    const T* one = a.as<T>();
    const T* other = b.as<T>();
    launch(context, groups_of(elements, kPack<T>), add_kernel<T>, elements, aligned(to, one, other),
           to, one, other);
  });
}

}  // namespace stagecoach::cuda
