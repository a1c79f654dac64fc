#include "kernels/cast.h"

#include "core/copy.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.h"

namespace stagecoach::cuda {
namespace {

template <typename To, typename From>
__global__ void __launch_bounds__(kThreads)
    cast_kernel(std::int64_t elements, bool packed, To* output, const From* input) {
  for (std::int64_t i = first_item(); i * kFloats < elements; i += item_stride()) {
    const std::int64_t place = i * kFloats, count = elements - place;
    const Pack<From, kFloats> from = load<From, kFloats>(input + place, count, packed);
    float values[kFloats];
    for (int k = 0; k < kFloats; ++k) values[k] = static_cast<float>(from.values[k]);
    store(output + place, rounded<To>(values), count, packed);
  }
}

}  // namespace

void CudaBackend::cast(Context& context, Tensor output, Tensor input) const {
  if (output.spec.dtype == input.spec.dtype) return copy(context.stream(), output, input);
  const auto run = [&](auto* to, const auto* from, auto kernel) {
    launch(context, groups_of(input.elements(), kFloats), kernel, input.elements(),
           aligned(to, from), to, from);
  };
  if (output.spec.dtype == DType::kBF16) {
    run(output.as<BFloat16>(), input.as<float>(), cast_kernel<BFloat16, float>);
  } else {
    run(output.as<float>(), input.as<BFloat16>(), cast_kernel<float, BFloat16>);
  }
}

}  // namespace stagecoach::cuda
