#include "kernels/max_pool2d.h"

#include "kernels/cuda/backend.h"
#include "kernels/cuda/checks.h"
#include "kernels/cuda/image_items.h"

namespace stagecoach::cuda {
namespace {

struct Axis {
  int in, out, kernel, stride, padding;
};
// Of AlexNet's pools: known when the kernels are compiled.
struct Axis3By2 {
  int in, out;
  static constexpr int kernel = 3, stride = 2;
  int padding;
};
struct Range {
  int begin, end;
};

// Where the window of an output lies in the input, without the padding.
template <typename Axis>
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

template <typename T, int kSize, typename Axis>
__global__ void __launch_bounds__(kThreads)
    max_pool2d_forward_kernel(ImageItems items, Axis h, Axis w, int channels, bool after_relu,
                              T* output, std::uint8_t* index, const T* input) {
  for (std::uint32_t i = first_item(); i < items.count(); i += item_stride()) {
    const ImagePlace place = items.at(i);
    const T* image = input + place.image * (h.in * w.in * channels) + place.channel;
    const Range rows = window(h, place.y), columns = window(w, place.x);
    const int top = place.y * h.stride - h.padding, left = place.x * w.stride - w.padding;
    float maxima[kSize] = {};
    int winners[kSize] = {};
    for (int y = rows.begin; y < rows.end; ++y) {
      for (int x = columns.begin; x < columns.end; ++x) {
        const Pack<T, kSize> pack = load<T, kSize>(image + (y * w.in + x) * channels);
        const bool first = y == rows.begin && x == columns.begin;
        for (int k = 0; k < kSize; ++k) {
          const auto value = static_cast<float>(pack.values[k]);
          const bool wins = first || value > maxima[k] || value != value;
          maxima[k] = wins ? value : maxima[k];
          winners[k] = wins ? (y - top) * w.kernel + x - left : winners[k];
        }
      }
    }
    Pack<std::uint8_t, kSize> places;
    for (int k = 0; k < kSize; ++k) {
      const bool none = after_relu && !(maxima[k] > 0.0f);
      places.values[k] = none ? kNoPlace : static_cast<std::uint8_t>(winners[k]);
    }
    const std::int64_t to = std::int64_t{i} * kSize;
    store(output + to, rounded<T>(maxima));
    store(index + to, places);
  }
}

// Gathers: each input looks at the outputs whose windows hold it, so every gradient is written
// once.
template <typename T, int kSize>
__global__ void __launch_bounds__(kThreads)
    max_pool2d_backward_kernel(ImageItems items, Axis h, Axis w, std::int64_t channels,
                               T* input_grad, const T* output_grad, const std::uint8_t* index) {
  for (std::uint32_t i = first_item(); i < items.count(); i += item_stride()) {
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
    store(input_grad + std::int64_t{i} * kSize, rounded<T>(sums));
  }
}

// What a window of 3 x 3 pixels gives to them, for a pack of channels.
template <typename T, int kSize>
struct Gift {
  Pack<T, kSize> gradients;
  Pack<std::uint8_t, kSize> winners;

  // Nothing, where there is no window.
  __device__ Gift(bool is_window, const T* output_grad, const std::uint8_t* index) {
    if (is_window) {
      gradients = load<T, kSize>(output_grad);
      winners = load<std::uint8_t, kSize>(index);
    } else {
      gradients = {};
      for (std::uint8_t& winner : winners.values) winner = kNoPlace;
    }
  }

  // To the pixel at place (y, x) of the window.
  __device__ void add_to(float (&sums)[kSize], int y, int x) const {
    for (int k = 0; k < kSize; ++k) {
      const bool wins = winners.values[k] == y * 3 + x;
      sums[k] += wins ? static_cast<float>(gradients.values[k]) : 0.0f;
    }
  }
};

// The same for windows of 3 x 3 pixels at distances of 2: a thread writes the four pixels where a
// window begins, if the padding counts as pixels. They get gradients from that window, and from the
// ones before it, whose rows and columns 2 are the pixels' first.
template <typename T, int kSize>
__global__ void __launch_bounds__(kThreads)
    max_pool2d_backward_3by2_kernel(ImageItems quads, Axis3By2 h, Axis3By2 w, int channels,
                                    T* input_grad, const T* output_grad,
                                    const std::uint8_t* index) {
  for (std::uint32_t i = first_item(); i < quads.count(); i += item_stride()) {
    const ImagePlace place = quads.at(i);
    const int row = w.out * channels;
    const std::int64_t window =
        place.image * (h.out * row) + place.y * row + place.x * channels + place.channel;
    const auto gift = [&](bool is_window, int offset) {
      return Gift<T, kSize>(is_window, output_grad + window - offset, index + window - offset);
    };
    const bool above = place.y > 0, here = place.y < h.out;
    const bool left = place.x > 0, right = place.x < w.out;
    const Gift<T, kSize> above_left = gift(above && left, row + channels);
    const Gift<T, kSize> above_right = gift(above && right, row);
    const Gift<T, kSize> below_left = gift(here && left, channels);
    const Gift<T, kSize> below_right = gift(here && right, 0);
    // In the order of the windows.
    float sums[2][2][kSize] = {};
    above_left.add_to(sums[0][0], 2, 2);
    above_right.add_to(sums[0][0], 2, 0);
    above_right.add_to(sums[0][1], 2, 1);
    below_left.add_to(sums[0][0], 0, 2);
    below_left.add_to(sums[1][0], 1, 2);
    below_right.add_to(sums[0][0], 0, 0);
    below_right.add_to(sums[0][1], 0, 1);
    below_right.add_to(sums[1][0], 1, 0);
    below_right.add_to(sums[1][1], 1, 1);
    T* image = input_grad + place.image * (h.in * w.in * channels) + place.channel;
    for (int dy = 0; dy < 2; ++dy) {
      for (int dx = 0; dx < 2; ++dx) {
        const int y = 2 * place.y + dy - h.padding, x = 2 * place.x + dx - w.padding;
        if (y < 0 || y >= h.in || x < 0 || x >= w.in) continue;
        store(image + (y * w.in + x) * channels, rounded<T>(sums[dy][dx]));
      }
    }
  }
}

struct Axes {
  Axis h, w;
};

bool is_3by2(const Axes& axes) {
  return axes.h.kernel == 3 && axes.h.stride == 2 && axes.w.kernel == 3 && axes.w.stride == 2;
}
Axis3By2 as_3by2(const Axis& axis) {
  return {axis.in, axis.out, axis.padding};
}

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
  const auto channels = static_cast<int>(input.shape()[1]);
  const bool after_relu = kind == MaxPool2dInput::kOutputOfRelu;
  check_image_size("max_pool2d_forward", input.spec);
  with_element_type(input.spec.dtype, [&]<typename T>(T) {
    const auto run = [&](int pack, const auto& h, const auto& w, auto kernel) {
      const ImageItems items("max_pool2d_forward", output.spec, pack);
      launch(context, items.count(), kernel, items, h, w, channels, after_relu, output.as<T>(),
             index.as<std::uint8_t>(), input.as<T>());
    };
    if (!packable<T>(channels, output.as<T>(), index.as<std::uint8_t>(), input.as<T>())) {
      run(1, axes.h, axes.w, max_pool2d_forward_kernel<T, 1, Axis>);
    } else if (is_3by2(axes)) {
      run(kPack<T>, as_3by2(axes.h), as_3by2(axes.w),
          max_pool2d_forward_kernel<T, kPack<T>, Axis3By2>);
    } else {
      run(kPack<T>, axes.h, axes.w, max_pool2d_forward_kernel<T, kPack<T>, Axis>);
    }
  });
}

void CudaBackend::max_pool2d_backward(Context& context, Tensor input_grad, Tensor output_grad,
                                      Tensor index, const MaxPool2dOptions& options) const {
  const Axes axes = axes_of(input_grad.spec, output_grad.spec, options);
  const auto channels = static_cast<int>(input_grad.shape()[1]);
  check_image_size("max_pool2d_backward", input_grad.spec);
  check_image_size("max_pool2d_backward", output_grad.spec);
  with_element_type(input_grad.spec.dtype, [&]<typename T>(T) {
    const auto run = [&](const TensorSpec& spec, int pack, const auto& h, const auto& w,
                         auto kernel) {
      const ImageItems items("max_pool2d_backward", spec, pack);
      launch(context, items.count(), kernel, items, h, w, channels, input_grad.as<T>(),
             output_grad.as<T>(), index.as<std::uint8_t>());
    };
    if (!packable<T>(channels, input_grad.as<T>(), output_grad.as<T>(), index.as<std::uint8_t>())) {
      run(input_grad.spec, 1, axes.h, axes.w, max_pool2d_backward_kernel<T, 1>);
    } else if (is_3by2(axes)) {
      TensorSpec quads = input_grad.spec;
      quads.shape = quads.shape.with(2, groups_of(quads.shape[2] + axes.h.padding, 2))
                        .with(3, groups_of(quads.shape[3] + axes.w.padding, 2));
      run(quads, kPack<T>, as_3by2(axes.h), as_3by2(axes.w),
          max_pool2d_backward_3by2_kernel<T, kPack<T>>);
    } else {
      run(input_grad.spec, kPack<T>, axes.h, axes.w, max_pool2d_backward_kernel<T, kPack<T>>);
    }
  });
}

}  // namespace stagecoach::cuda
