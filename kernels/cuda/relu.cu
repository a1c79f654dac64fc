#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.h"

namespace stagecoach::cuda {
namespace {

template <typename T, int kSize>
__global__ void __launch_bounds__(kThreads)
    relu_forward_kernel(std::int64_t packs, T* output, const T* input) {
  for (std::int64_t i = first_item(); i < packs; i += item_stride()) {
    Pack<T, kSize> pack = load<T, kSize>(input + i * kSize);
    for (T& value : pack.values) {
      if (static_cast<float>(value) <= 0.0f) value = T(0.0f);  // not NaN
    }
    store(output + i * kSize, pack);
  }
}

template <typename T, int kSize>
__global__ void __launch_bounds__(kThreads)
    relu_backward_kernel(std::int64_t packs, T* input_grad, const T* output_grad, const T* output) {
  for (std::int64_t i = first_item(); i < packs; i += item_stride()) {
    Pack<T, kSize> gradients = load<T, kSize>(output_grad + i * kSize);
    const Pack<T, kSize> outputs = load<T, kSize>(output + i * kSize);
    for (int k = 0; k < kSize; ++k) {
      if (!(static_cast<float>(outputs.values[k]) > 0.0f)) gradients.values[k] = T(0.0f);
    }
    store(input_grad + i * kSize, gradients);
  }
}

}  // namespace

void CudaBackend::relu_forward(Context& context, Tensor output, Tensor input) const {
  const std::int64_t elements = input.elements();
  with_element_type(input.spec.dtype, [&]<typename T>(T) {
    T* to = output.as<T>();
    const T* from = input.as<T>();
    if (packable<T>(elements, to, from)) {
      launch(context, elements / kPack<T>, relu_forward_kernel<T, kPack<T>>, elements / kPack<T>,
             to, from);
    } else {
      launch(context, elements, relu_forward_kernel<T, 1>, elements, to, from);
    }
  });
}

void CudaBackend::relu_backward(Context& context, Tensor input_grad, Tensor output_grad,
                                Tensor output) const {
  const std::int64_t elements = output.elements();
  with_element_type(output.spec.dtype, [&]<typename T>(T) {
    T* to = input_grad.as<T>();
    const T* gradients = output_grad.as<T>();
    const T* outputs = output.as<T>();
    if (packable<T>(elements, to, gradients, outputs)) {
      launch(context, elements / kPack<T>, relu_backward_kernel<T, kPack<T>>, elements / kPack<T>,
             to, gradients, outputs);
    } else {
      launch(context, elements, relu_backward_kernel<T, 1>, elements, to, gradients, outputs);
    }
  });
}

}  // namespace stagecoach::cuda
