#include "kernels/channel_sums.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"

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
__device__ Pack<T, kSize> where_positive(Pack<T, kSize> gradients, const Pack<T, kSize>& outputs) {
  for (int k = 0; k < kSize; ++k) {
    if (!(static_cast<float>(outputs.values[k]) > 0.0f)) gradients.values[k] = T(0.0f);
  }
  return gradients;
}

template <typename T, int kSize>
__global__ void __launch_bounds__(kThreads)
    relu_backward_kernel(std::int64_t packs, T* input_grad, const T* output_grad, const T* output) {
  for (std::int64_t i = first_item(); i < packs; i += item_stride()) {
    const std::int64_t at = i * kSize;
    store(input_grad + at,
          where_positive(load<T, kSize>(output_grad + at), load<T, kSize>(output + at)));
  }
}

// The same with channel sums: a thread makes a pack of one of their rows.
template <typename T, int kSize>
__global__ void __launch_bounds__(kThreads)
    relu_backward_sums_kernel(std::int64_t items, std::int64_t pixels, std::int64_t channels,
                              T* input_grad, const T* output_grad, const T* output,
                              float* channel_sums) {
  const std::int64_t packs = channels / kSize;
  for (std::int64_t i = first_item(); i < items; i += item_stride()) {
    const std::int64_t row = i / packs, channel = i % packs * kSize;
    const std::int64_t first = row * kChannelSumPixels;
    const std::int64_t end = std::min(first + kChannelSumPixels, pixels);
    float sums[kSize] = {};
    for (std::int64_t pixel = first; pixel < end; ++pixel) {
      const std::int64_t at = pixel * channels + channel;
      const Pack<T, kSize> gradients =
          where_positive(load<T, kSize>(output_grad + at), load<T, kSize>(output + at));
      store(input_grad + at, gradients);
      add(sums, gradients);
    }
    store_sums(channel_sums + i * kSize, sums);
  }
}

}  // namespace

void relu_forward(Context& context, Tensor output, Tensor input) {
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

namespace {

void relu_backward_with_sums(Context& context, Tensor input_grad, Tensor output_grad, Tensor output,
                             Tensor channel_sums) {
  const std::int64_t channels = output.shape()[1], pixels = output.elements() / channels;
  const std::int64_t rows = channel_sums.shape()[0];
  with_element_type(output.spec.dtype, [&]<typename T>(T) {
    const auto run = [&](std::int64_t items, auto kernel) {
      launch(context, items, kernel, items, pixels, channels, input_grad.as<T>(),
             output_grad.as<T>(), output.as<T>(), channel_sums.as<float>());
    };
    if (packable<T>(channels, input_grad.as<T>(), output_grad.as<T>(), output.as<T>(),
                    channel_sums.as<float>())) {
      run(rows * channels / kPack<T>, relu_backward_sums_kernel<T, kPack<T>>);
    } else {
      run(rows * channels, relu_backward_sums_kernel<T, 1>);
    }
  });
}

}  // namespace

void relu_backward(Context& context, Tensor input_grad, Tensor output_grad, Tensor output,
                   Tensor channel_sums) {
  if (channel_sums.defined()) {
    return relu_backward_with_sums(context, input_grad, output_grad, output, channel_sums);
  }
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
