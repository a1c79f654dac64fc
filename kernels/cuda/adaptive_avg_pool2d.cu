#include "kernels/adaptive_avg_pool2d.h"

#include "kernels/cuda/backend.h"
#include "kernels/cuda/image_items.h"

namespace stagecoach::cuda {
namespace {

struct Cells {
  std::int64_t begin, end;
  __device__ std::int64_t size() const { return end - begin; }
};

// The places of an axis of `to` cells that cell i of an axis of `from` cells shares a part with,
// both axes being of length one. Both directions use it: the inputs under an output, and the
// outputs over an input.
__device__ Cells overlap(std::int64_t i, std::int64_t from, std::int64_t to) {
  return {i * to / from, ((i + 1) * to + from - 1) / from};
}

struct Sizes {
  std::int64_t in_h, in_w, out_h, out_w, channels;
};

template <typename T, int kSize>
__global__ void __launch_bounds__(kThreads)
    adaptive_avg_pool2d_forward_kernel(ImageItems items, Sizes sizes, T* output, const T* input) {
  for (std::uint32_t i = first_item(); i < items.count(); i += item_stride()) {
    const ImagePlace place = items.at(i);
    const Cells rows = overlap(place.y, sizes.out_h, sizes.in_h);
    const Cells columns = overlap(place.x, sizes.out_w, sizes.in_w);
    float sums[kSize] = {};
    for (std::int64_t y = rows.begin; y < rows.end; ++y) {
      for (std::int64_t x = columns.begin; x < columns.end; ++x) {
        const std::int64_t pixel = (place.image * sizes.in_h + y) * sizes.in_w + x;
        const auto pack = load<T, kSize>(input + pixel * sizes.channels + place.channel);
        for (int k = 0; k < kSize; ++k) sums[k] += static_cast<float>(pack.values[k]);
      }
    }
    const auto cells = static_cast<float>(rows.size() * columns.size());
    for (float& sum : sums) sum /= cells;
    store(output + std::int64_t{i} * kSize, rounded<T>(sums));
  }
}

// Gathers: each input looks at the outputs that averaged it.
template <typename T, int kSize>
__global__ void __launch_bounds__(kThreads)
    adaptive_avg_pool2d_backward_kernel(ImageItems items, Sizes sizes, T* input_grad,
                                        const T* output_grad) {
  for (std::uint32_t i = first_item(); i < items.count(); i += item_stride()) {
    const ImagePlace place = items.at(i);
    const Cells rows = overlap(place.y, sizes.in_h, sizes.out_h);
    const Cells columns = overlap(place.x, sizes.in_w, sizes.out_w);
    float sums[kSize] = {};
    for (std::int64_t y = rows.begin; y < rows.end; ++y) {
      const std::int64_t averaged_rows = overlap(y, sizes.out_h, sizes.in_h).size();
      for (std::int64_t x = columns.begin; x < columns.end; ++x) {
        const std::int64_t pixel = (place.image * sizes.out_h + y) * sizes.out_w + x;
        const auto pack = load<T, kSize>(output_grad + pixel * sizes.channels + place.channel);
        const auto cells =
            static_cast<float>(averaged_rows * overlap(x, sizes.out_w, sizes.in_w).size());
        for (int k = 0; k < kSize; ++k) sums[k] += static_cast<float>(pack.values[k]) / cells;
      }
    }
    store(input_grad + std::int64_t{i} * kSize, rounded<T>(sums));
  }
}

Sizes sizes_of(const TensorSpec& input, const TensorSpec& output) {
  return {input.shape[2], input.shape[3], output.shape[2], output.shape[3], input.shape[1]};
}

}  // namespace

void CudaBackend::adaptive_avg_pool2d_forward(Context& context, Tensor output, Tensor input) const {
  const Sizes sizes = sizes_of(input.spec, output.spec);
  with_element_type(input.spec.dtype, [&]<typename T>(T) {
    const auto run = [&](const ImageItems& items, auto kernel) {
      launch(context, items.count(), kernel, items, sizes, output.as<T>(), input.as<T>());
    };
    if (packable<T>(sizes.channels, output.as<T>(), input.as<T>())) {
      run({"adaptive_avg_pool2d_forward", output.spec, kPack<T>},
          adaptive_avg_pool2d_forward_kernel<T, kPack<T>>);
    } else {
      run({"adaptive_avg_pool2d_forward", output.spec, 1},
          adaptive_avg_pool2d_forward_kernel<T, 1>);
    }
  });
}

void CudaBackend::adaptive_avg_pool2d_backward(Context& context, Tensor input_grad,
                                               Tensor output_grad) const {
  const Sizes sizes = sizes_of(input_grad.spec, output_grad.spec);
  with_element_type(input_grad.spec.dtype, [&]<typename T>(T) {
    const auto run = [&](const ImageItems& items, auto kernel) {
      launch(context, items.count(), kernel, items, sizes, input_grad.as<T>(), output_grad.as<T>());
    };
    if (packable<T>(sizes.channels, input_grad.as<T>(), output_grad.as<T>())) {
      run({"adaptive_avg_pool2d_backward", input_grad.spec, kPack<T>},
          adaptive_avg_pool2d_backward_kernel<T, kPack<T>>);
    } else {
      run({"adaptive_avg_pool2d_backward", input_grad.spec, 1},
          adaptive_avg_pool2d_backward_kernel<T, 1>);
    }
  });
}

}  // namespace stagecoach::cuda
