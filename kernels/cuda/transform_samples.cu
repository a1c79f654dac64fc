#include "kernels/cpu/resize_filter.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/image_items.h"

namespace stagecoach::cuda {
namespace {

constexpr int kChannels = 3;
constexpr std::int32_t kHalf = 1 << (cpu::kFilterBits - 1);

// ResidentImages and what is made of them, as the kernel needs them.
struct Plan {
  std::int64_t side, crop, widest;
  const std::uint8_t* pixels;
  const std::uint8_t* labels;
  const std::int32_t* windows;
  const std::int32_t* weights;
  const float* values;
};

struct Window {
  std::int32_t begin, end;      // along the input
  const std::int32_t* weights;  // one per pixel of it
};

__device__ Window window_of(const Plan& plan, std::int64_t output) {
  return {plan.windows[2 * output], plan.windows[2 * output + 1],
          plan.weights + output * plan.widest};
}

__device__ std::int32_t round_to_byte(std::int32_t sum) {
  const std::int32_t value = sum >> cpu::kFilterBits;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

// A pixel of a resized plane: along the rows first, each rounded to a byte, as Pillow does.
__device__ std::int32_t resized(const Window& rows, const Window& columns,
                                const std::uint8_t* plane, std::int64_t side) {
  std::int32_t sum = kHalf;
  for (std::int32_t y = rows.begin; y < rows.end; ++y) {
    std::int32_t row = kHalf;
    for (std::int32_t x = columns.begin; x < columns.end; ++x) {
      row += plane[y * side + x] * columns.weights[x - columns.begin];
    }
    sum += round_to_byte(row) * rows.weights[y - rows.begin];
  }
  return round_to_byte(sum);
}

struct Sample {
  std::int32_t image, top, left, flip;
};

// A channel of pixel (y, x) of the crop.
__device__ float value_of(const Plan& plan, const Sample& sample, int y, int x, int channel) {
  const Window rows = window_of(plan, sample.top + y);
  const Window columns = window_of(plan, sample.left + (sample.flip != 0 ? plan.crop - 1 - x : x));
  const std::int64_t plane = static_cast<std::int64_t>(sample.image) * kChannels + channel;
  const std::int32_t byte =
      resized(rows, columns, plan.pixels + plane * plan.side * plan.side, plan.side);
  return plan.values[channel * 256 + byte];
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    transform_samples_kernel(ImageItems items, Plan plan, T* output, std::int32_t* labels,
                             const Sample* samples) {
  for (std::int64_t i = first_item(); i < items.count(); i += item_stride()) {
    const ImagePlace place = items.at(i);
    const Sample sample = samples[place.image];
    output[i] = T(value_of(plan, sample, place.y, place.x, place.channel));
    if (place.y == 0 && place.x == 0 && place.channel == 0) {
      labels[place.image] = plan.labels[sample.image];
    }
  }
}

}  // namespace

void CudaBackend::transform_samples(Context& context, Tensor output, Tensor labels,
                                    const ResidentImages& images, Tensor samples) const {
  const Plan plan{.side = images.side(),
                  .crop = images.transform().crop,
                  .widest = images.weights().shape()[1],
                  .pixels = images.pixels().as<std::uint8_t>(),
                  .labels = images.labels().as<std::uint8_t>(),
                  .windows = images.windows().as<std::int32_t>(),
                  .weights = images.weights().as<std::int32_t>(),
                  .values = images.values().as<float>()};
  const ImageItems items("transform_samples", output.spec, 1);
  with_element_type(output.spec.dtype, [&]<typename T>(T) {
    launch(context, items.count(), transform_samples_kernel<T>, items, plan, output.as<T>(),
           labels.as<std::int32_t>(), reinterpret_cast<const Sample*>(samples.as<std::int32_t>()));
  });
}

}  // namespace stagecoach::cuda
