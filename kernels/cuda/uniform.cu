#include "kernels/uniform.h"

#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.h"

namespace stagecoach::cuda {
namespace {

// A thread makes the elements of one block of random numbers. Element e of the logical order
// [n, channels, pixels] is stored at its place in [n, pixels, channels].
template <typename T>
__global__ void __launch_bounds__(kThreads)
    fill_uniform_kernel(std::int64_t elements, std::int64_t channels, std::int64_t pixels,
                        T* output, float bound, RandomStream stream) {
  for (std::int64_t i = first_item(); i * 4 < elements; i += item_stride()) {
    const PhiloxBlock words = stream.block(static_cast<std::uint32_t>(i));
    for (int k = 0; k < 4; ++k) {
      const std::int64_t e = i * 4 + k;
      if (e >= elements) break;
      const std::int64_t pixel = e % pixels, plane = e / pixels;
      const std::int64_t image = plane / channels, channel = plane % channels;
      output[(image * pixels + pixel) * channels + channel] =
          T((2.0f * uniform01(words[k]) - 1.0f) * bound);
    }
  }
}

}  // namespace

void CudaBackend::fill_uniform(Context& context, Tensor output, float bound,
                               const RandomStream& stream) const {
  const std::int64_t elements = output.elements();
  const bool permuted = output.spec.format == MemoryFormat::kChannelsLast;
  const Shape& shape = output.shape();
  const std::int64_t channels = permuted ? shape[1] : 1;
  const std::int64_t pixels = permuted ? shape[2] * shape[3] : elements;
  with_element_type(output.spec.dtype, [&]<typename T>(T) {
    launch(context, groups_of(elements, 4), fill_uniform_kernel<T>, elements, channels, pixels,
           output.as<T>(), bound, stream);
  });
}

}  // namespace stagecoach::cuda
