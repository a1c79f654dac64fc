#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"

namespace stagecoach::cuda {
namespace {

// Rows that one thread adds, one after another. Chunks of them make a smaller matrix of partial
// sums, chunks of its rows the next, until one row is left: few threads wait for a long sum, and
// rounding errors grow with the number of levels.
constexpr std::int64_t kChunk = 64;

// output [ceil(rows / kChunk), columns] = sums over the chunks of the rows of `input`.
template <typename T, int kSize>
__global__ void __launch_bounds__(kThreads)
    sum_chunks_kernel(std::int64_t items, std::int64_t rows, std::int64_t columns, float* output,
                      const T* input, bool accumulate) {
  const std::int64_t packs = columns / kSize;
  for (std::int64_t i = first_item(); i < items; i += item_stride()) {
    const std::int64_t chunk = i / packs, column = i % packs * kSize;
    const std::int64_t last = std::min((chunk + 1) * kChunk, rows);
    float sums[kSize] = {};
    for (std::int64_t row = chunk * kChunk; row < last; ++row) {
      const Pack<T, kSize> pack = load<T, kSize>(input + row * columns + column);
      for (int k = 0; k < kSize; ++k) sums[k] += static_cast<float>(pack.values[k]);
    }
    float* to = output + chunk * columns + column;
    for (int k = 0; k < kSize; ++k) to[k] = accumulate ? to[k] + sums[k] : sums[k];
  }
}

template <typename T>
void sum_chunks(Context& context, std::int64_t rows, std::int64_t columns, float* output,
                const T* input, bool accumulate) {
  const auto run = [&](std::int64_t items, auto kernel) {
    launch(context, items, kernel, items, rows, columns, output, input, accumulate);
  };
  const std::int64_t chunks = groups_of(rows, kChunk);
  if (packable<T>(columns, input)) {
    run(chunks * columns / kPack<T>, sum_chunks_kernel<T, kPack<T>>);
  } else {
    run(chunks * columns, sum_chunks_kernel<T, 1>);
  }
}

}  // namespace

std::int64_t bias_grad_workspace_bytes(std::int64_t rows, std::int64_t channels) {
  std::int64_t partial_rows = 0;
  while (rows > kChunk) {
    rows = groups_of(rows, kChunk);
    partial_rows += rows;
  }
  return partial_rows * channels * static_cast<std::int64_t>(sizeof(float));
}

void bias_grad(Context& context, Tensor bias_grad, Tensor output_grad, GradientMode mode,
               void* workspace) {
  const std::int64_t columns = bias_grad.elements();
  const bool accumulate = mode == GradientMode::kAccumulate;
  std::int64_t rows = output_grad.elements() / columns;
  float* partial = static_cast<float*>(workspace);
  with_element_type(output_grad.spec.dtype, [&]<typename T>(T) {
    const T* gradients = output_grad.as<T>();
    if (rows <= kChunk) {
      return sum_chunks(context, rows, columns, bias_grad.as<float>(), gradients, accumulate);
    }
    sum_chunks(context, rows, columns, partial, gradients, false);
    rows = groups_of(rows, kChunk);
    while (rows > kChunk) {
      float* next = partial + rows * columns;
      sum_chunks(context, rows, columns, next, partial, false);
      partial = next;
      rows = groups_of(rows, kChunk);
    }
    sum_chunks(context, rows, columns, bias_grad.as<float>(), partial, accumulate);
  });
}

}  // namespace stagecoach::cuda
