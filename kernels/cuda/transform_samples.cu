#include <limits>

#include "kernels/cpu/resize_filter.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/checks.h"
#include "kernels/cuda/launch.h"

namespace stagecoach::cuda {
namespace {

constexpr int kChannels = 3, kBytes = 256;  // values of a byte
constexpr std::int32_t kHalf = 1 << (cpu::kFilterBits - 1);
constexpr int kSharedBytes = 16 << 10;  // of a block, for rows that are resized in one direction
constexpr int kPacksBelow = 8;          // that a thread makes, one below another

// ResidentImages and what is made of them, as the kernel needs them.
struct Plan {
  int side, crop, widest;
  const std::uint8_t* pixels;
  const std::uint8_t* labels;
  const std::int32_t* windows;
  const std::int32_t* weights;
  const float* values;
};

struct Window {
  int begin, end;               // along the input
  const std::int32_t* weights;  // one per pixel of it
};

__device__ Window window_of(const Plan& plan, int output) {
  return {plan.windows[2 * output], plan.windows[2 * output + 1],
          plan.weights + output * plan.widest};
}

// The byte of a sum of weighted bytes. No weight is below 0 and together they are 1 but for their
// own rounding, so it is one.
__device__ int byte_of(std::int32_t sum) {
  return sum >> cpu::kFilterBits;
}

struct Sample {
  std::int32_t image, top, left, flip;
};

// The tiles of an image, one for each block: `rows` x `columns` pixels, less at the lower and right
// edges.
struct Tiling {
  int rows, columns, down, across;
};

// A thread's place among those of the block, as rows of `columns` of them, `step` rows; the threads
// behind them have none.
struct Place {
  int x, y, step;
};
__device__ Place place_of(int columns) {
  const unsigned width = columns;
  const int y = static_cast<int>(threadIdx.x / width), step = static_cast<int>(kThreads / width);
  return {static_cast<int>(threadIdx.x % width), y < step ? y : std::numeric_limits<int>::max(),
          step};
}

// Pixels of `sample` in rows [begin, end) of the image and columns from `left` of the crop, resized
// along the rows and rounded to bytes, as Pillow does first.
__device__ void resize_rows(const Plan& plan, const Sample& sample, int begin, int end, int left,
                            int columns, std::uint8_t* to, int to_columns) {
  const Place place = place_of(columns);
  const int x = left + place.x;
  const Window window = window_of(plan, sample.left + (sample.flip != 0 ? plan.crop - 1 - x : x));
  const int plane = plan.side * plan.side;
  const std::uint8_t* image =
      plan.pixels + static_cast<std::int64_t>(sample.image) * kChannels * plane;
  for (int y = place.y; y < end - begin; y += place.step) {
    const std::uint8_t* row = image + (begin + y) * plan.side;
    std::int32_t sums[kChannels] = {kHalf, kHalf, kHalf};
    for (int i = window.begin; i < window.end; ++i) {
      const std::int32_t weight = window.weights[i - window.begin];
      for (int c = 0; c < kChannels; ++c) sums[c] += row[c * plane + i] * weight;
    }
    std::uint8_t* pixel = to + (y * to_columns + place.x) * kChannels;
    for (int c = 0; c < kChannels; ++c) pixel[c] = static_cast<std::uint8_t>(byte_of(sums[c]));
  }
}

template <typename T, int kSize>
__global__ void __launch_bounds__(kThreads)
    transform_samples_kernel(Tiling tiling, Plan plan, T* output, std::int32_t* labels,
                             const Sample* samples) {
  __shared__ T values[kChannels * kBytes];
  alignas(16) __shared__ std::uint8_t resized[kSharedBytes];
  const unsigned tiles = tiling.down * tiling.across;
  const unsigned image = blockIdx.x / tiles, tile = blockIdx.x % tiles;
  const int top = static_cast<int>(tile / tiling.across) * tiling.rows;
  const int left = static_cast<int>(tile % tiling.across) * tiling.columns;
  const int rows = std::min(tiling.rows, plan.crop - top);
  const int columns = std::min(tiling.columns, plan.crop - left);
  const Sample sample = samples[image];
  const int begin = window_of(plan, sample.top + top).begin;

  for (int i = threadIdx.x; i < kChannels * kBytes; i += kThreads) values[i] = T(plan.values[i]);
  resize_rows(plan, sample, begin, window_of(plan, sample.top + top + rows - 1).end, left, columns,
              resized, tiling.columns);
  __syncthreads();

  const Place place = place_of(columns * kChannels / kSize);
  const T* of_channel[kChannels];
  for (int c = 0; c < kChannels; ++c)
    of_channel[c] = values + (place.x * kSize + c) % kChannels * kBytes;
  for (int y = place.y; y < rows; y += place.step) {
    const Window window = window_of(plan, sample.top + top + y);
    const int row_bytes = tiling.columns * kChannels;
    const std::uint8_t* from = resized + (window.begin - begin) * row_bytes + place.x * kSize;
    std::int32_t sums[kSize];
    for (std::int32_t& sum : sums) sum = kHalf;
    for (int i = 0; i < window.end - window.begin; ++i) {
      const auto bytes = load<std::uint8_t, kSize>(from + i * row_bytes);
      const std::int32_t weight = window.weights[i];
      for (int k = 0; k < kSize; ++k) sums[k] += bytes.values[k] * weight;
    }
    Pack<T, kSize> pack;
    for (int k = 0; k < kSize; ++k) pack.values[k] = of_channel[k % kChannels][byte_of(sums[k])];
    const std::int64_t row = static_cast<std::int64_t>(image) * plan.crop + top + y;
    store(output + (row * plan.crop + left) * kChannels + place.x * kSize, pack);
  }
  if (tile == 0 && threadIdx.x == 0) labels[image] = plan.labels[sample.image];
}

// Tiles whose rows, resized in one direction, fit into the shared memory of a block.
Tiling tiling_of(const ResidentImages& images, int pack) {
  const std::int64_t crop = images.transform().crop, aligned = pack == 1 ? 1 : 8;
  const auto fits = [&](std::int64_t rows, std::int64_t columns) {
    const std::int64_t window =
        (rows - 1) * images.side() / images.transform().resize + 1 + images.weights().shape()[1];
    return std::min(window, images.side()) * columns * kChannels <= kSharedBytes;
  };
  const std::int64_t most = std::min<std::int64_t>(kThreads, kThreads / 2 * pack / kChannels);
  std::int64_t columns = groups_of(groups_of(crop, groups_of(crop, most)), aligned) * aligned;
  while (columns > aligned && !fits(1, columns))
    columns = groups_of(columns / 2, aligned) * aligned;
  check_resize(fits(1, columns), images);
  std::int64_t rows = std::min(crop, kPacksBelow * (kThreads / (columns * kChannels / pack)));
  while (!fits(rows, columns)) rows = groups_of(rows, 2);
  return {static_cast<int>(rows), static_cast<int>(columns),
          static_cast<int>(groups_of(crop, rows)), static_cast<int>(groups_of(crop, columns))};
}

}  // namespace

void CudaBackend::transform_samples(Context& context, Tensor output, Tensor labels,
                                    const ResidentImages& images, Tensor samples) const {
  const Plan plan{.side = static_cast<int>(images.side()),
                  .crop = static_cast<int>(images.transform().crop),
                  .widest = static_cast<int>(images.weights().shape()[1]),
                  .pixels = images.pixels().as<std::uint8_t>(),
                  .labels = images.labels().as<std::uint8_t>(),
                  .windows = images.windows().as<std::int32_t>(),
                  .weights = images.weights().as<std::int32_t>(),
                  .values = images.values().as<float>()};
  with_element_type(output.spec.dtype, [&]<typename T>(T) {
    const auto run = [&](int pack, auto kernel) {
      const Tiling tiling = tiling_of(images, pack);
      launch_blocks(context, samples.shape()[0] * tiling.down * tiling.across, kernel, tiling, plan,
                    output.as<T>(), labels.as<std::int32_t>(),
                    reinterpret_cast<const Sample*>(samples.as<std::int32_t>()));
    };
    if (plan.crop % 8 == 0 && aligned(output.as<T>())) {
      run(kPack<T>, transform_samples_kernel<T, kPack<T>>);
    } else {
      run(1, transform_samples_kernel<T, 1>);
    }
  });
}

}  // namespace stagecoach::cuda
