#include "kernels/cpu/resize_filter.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"

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

// A thread makes one pixel.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    transform_samples_kernel(std::int64_t items, Plan plan, T* output, std::int32_t* labels,
                             const Sample* samples) {
  const std::int64_t pixels = plan.crop * plan.crop;
  for (std::int64_t i = first_item(); i < items; i += item_stride()) {
    const std::int64_t n = i / pixels, pixel = i % pixels;
    const std::int64_t y = pixel / plan.crop, x = pixel % plan.crop;
    const Sample sample = samples[n];
    const Window rows = window_of(plan, sample.top + y);
    const Window columns =
        window_of(plan, sample.left + (sample.flip != 0 ? plan.crop - 1 - x : x));
    const std::int64_t area = plan.side * plan.side;
    const std::uint8_t* image = plan.pixels + sample.image * kChannels * area;
    for (int c = 0; c < kChannels; ++c) {
      const std::int32_t byte = resized(rows, columns, image + c * area, plan.side);
      output[i * kChannels + c] = T(plan.values[c * 256 + byte]);
    }
    if (pixel == 0) labels[n] = plan.labels[sample.image];
  }
}

}  // namespace

void transform_samples(Context& context, Tensor output, Tensor labels, const ResidentImages& images,
                       Tensor samples) {
  const Plan plan{.side = images.side(),
                  .crop = images.transform().crop,
                  .widest = images.weights().shape()[1],
                  .pixels = images.pixels().as<std::uint8_t>(),
                  .labels = images.labels().as<std::uint8_t>(),
                  .windows = images.windows().as<std::int32_t>(),
                  .weights = images.weights().as<std::int32_t>(),
                  .values = images.values().as<float>()};
  const std::int64_t items = samples.shape()[0] * plan.crop * plan.crop;
  const auto* rows = reinterpret_cast<const Sample*>(samples.as<std::int32_t>());
  with_element_type(output.spec.dtype, [&]<typename T>(T) {
    launch(context, items, transform_samples_kernel<T>, items, plan, output.as<T>(),
           labels.as<std::int32_t>(), rows);
  });
}

}  // namespace stagecoach::cuda
