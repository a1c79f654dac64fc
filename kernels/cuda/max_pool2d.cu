#include "kernels/max_pool2d.h"

#include "kernels/cuda/backend.h"
#include "kernels/cuda/image_items.h"

namespace stagecoach::cuda {
namespace {

struct Axis {
  int in, out, kernel, stride, padding;
};
struct Range {
  int begin, end;
};

// Where the window of an output lies in the input, without the padding.
__device__ Range window(const Axis& axis, int out) {
  const int begin = out * axis.stride - axis.padding;
  return {std::max(begin, 0), std::min(begin + axis.kernel, axis.in)};
}

// The outputs whose windows hold an input.
__device__ Range windows_with(const Axis& axis, int in) {
  const auto stride = static_cast<unsigned>(axis.stride);
  const int padded = in + axis.padding;
  const int after_first = padded - axis.kernel + 1;  // begin of the first window, or above
  const unsigned begin =
      after_first > 0 ? (static_cast<unsigned>(after_first) + stride - 1) / stride : 0;
  const unsigned end = static_cast<unsigned>(padded) / stride + 1;
  return {static_cast<int>(begin), std::min(static_cast<int>(end), axis.out)};
}

template <typename T, int kSize>
__global__ void __launch_bounds__(kThreads)
    max_pool2d_forward_kernel(ImageItems items, Axis h, Axis w, std::int64_t channels,
                              bool after_relu, T* output, std::uint8_t* index, const T* input) {
  for (std::int64_t i = first_item(); i < items.count(); i += item_stride()) {
    const ImagePlace place = items.at(i);
    const Range rows = window(h, place.y), columns = window(w, place.x);
    const int top = place.y * h.stride - h.padding, left = place.x * w.stride - w.padding;
    float maxima[kSize] = {};
    int winners[kSize] = {};
    for (int y = rows.begin; y < rows.end; ++y) {
      for (int x = columns.begin; x < columns.end; ++x) {
        const std::int64_t pixel = (place.image * h.in + y) * w.in + x;
        const Pack<T, kSize> pack = load<T, kSize>(input + pixel * channels + place.channel);
        const bool first = y == rows.begin && x == columns.begin;
        for (int k = 0; k < kSize; ++k) {
          const auto value = static_cast<float>(pack.values[k]);
          const bool wins = first || value > maxima[k] || value != value;
          maxima[k] = wins ? value : maxima[k];
          winners[k] = wins ? (y - top) * w.kernel + x - left : winners[k];
        }
      }
    }
    Pack<T, kSize> values;
    Pack<std::uint8_t, kSize> places;
    for (int k = 0; k < kSize; ++k) {
      values.values[k] = T(maxima[k]);
      const bool none = after_relu && !(maxima[k] > 0.0f);
      places.values[k] = none ? kNoPlace : static_cast<std::uint8_t>(winners[k]);
    }
    store(output + i * kSize, values);
    store(index + i * kSize, places);
  }
}

// Gathers: each input looks at the outputs whose windows hold it, so every gradient is written
// once.
template <typename T, int kSize>
__global__ void __launch_bounds__(kThreads)
    max_pool2d_backward_kernel(ImageItems items, Axis h, Axis w, std::int64_t channels,
                               T* input_grad, const T* output_grad, const std::uint8_t* index) {
  for (std::int64_t i = first_item(); i < items.count(); i += item_stride()) {
    const ImagePlace place = items.at(i);
    const Range rows = windows_with(h, place.y), columns = windows_with(w, place.x);
    float sums[kSize] = {};
    for (int y = rows.begin; y < rows.end; ++y) {
      for (int x = columns.begin; x < columns.end; ++x) {
        const std::int64_t pixel = (place.image * h.out + y) * w.out + x;
        const std::int64_t from = pixel * channels + place.channel;
        const Pack<T, kSize> gradients = load<T, kSize>(output_grad + from);
        const Pack<std::uint8_t, kSize> winners = load<std::uint8_t, kSize>(index + from);
        const int here =
            (place.y + h.padding - y * h.stride) * w.kernel + place.x + w.padding - x * w.stride;
        for (int k = 0; k < kSize; ++k) {
          sums[k] += winners.values[k] == here ? static_cast<float>(gradients.values[k]) : 0.0f;
        }
      }
    }
    Pack<T, kSize> pack;
    for (int k = 0; k < kSize; ++k) pack.values[k] = T(sums[k]);
    store(input_grad + i * kSize, pack);
  }
}

struct Axes {
  Axis h, w;
};

Axes axes_of(const TensorSpec& input, const TensorSpec& output, const MaxPool2dOptions& options) {
  const auto axis = [&](int dimension, std::int64_t kernel, std::int64_t stride,
                        std::int64_t padding) {
    return Axis{static_cast<int>(input.shape[dimension]), static_cast<int>(output.shape[dimension]),
                static_cast<int>(kernel), static_cast<int>(stride), static_cast<int>(padding)};
  };
  return {axis(2, options.kernel_h, options.stride_h, options.padding_h),
          axis(3, options.kernel_w, options.stride_w, options.padding_w)};
}

}  // namespace

void CudaBackend::max_pool2d_forward(Context& context, Tensor output, Tensor index, Tensor input,
                                     const MaxPool2dOptions& options, MaxPool2dInput kind) const {
  const Axes axes = axes_of(input.spec, output.spec, options);
  const std::int64_t channels = input.shape()[1];
  const bool after_relu = kind == MaxPool2dInput::kOutputOfRelu;
  with_element_type(input.spec.dtype, [&]<typename T>(T) {
    const auto run = [&](const ImageItems& items, auto kernel) {
      launch(context, items.count(), kernel, items, axes.h, axes.w, channels, after_relu,
             output.as<T>(), index.as<std::uint8_t>(), input.as<T>());
    };
    if (packable<T>(channels, output.as<T>(), index.as<std::uint8_t>(), input.as<T>())) {
      run({"max_pool2d_forward", output.spec, kPack<T>}, max_pool2d_forward_kernel<T, kPack<T>>);
    } else {
      run({"max_pool2d_forward", output.spec, 1}, max_pool2d_forward_kernel<T, 1>);
    }
  });
}

void CudaBackend::max_pool2d_backward(Context& context, Tensor input_grad, Tensor output_grad,
                                      Tensor index, const MaxPool2dOptions& options) const {
  const Axes axes = axes_of(input_grad.spec, output_grad.spec, options);
  const std::int64_t channels = input_grad.shape()[1];
  with_element_type(input_grad.spec.dtype, [&]<typename T>(T) {
    const auto run = [&](const ImageItems& items, auto kernel) {
      launch(context, items.count(), kernel, items, axes.h, axes.w, channels, input_grad.as<T>(),
             output_grad.as<T>(), index.as<std::uint8_t>());
    };
    if (packable<T>(channels, input_grad.as<T>(), output_grad.as<T>(), index.as<std::uint8_t>())) {
      run({"max_pool2d_backward", input_grad.spec, kPack<T>},
          max_pool2d_backward_kernel<T, kPack<T>>);
    } else {
      run({"max_pool2d_backward", input_grad.spec, 1}, max_pool2d_backward_kernel<T, 1>);
    }
  });
}

}  // namespace stagecoach::cuda
