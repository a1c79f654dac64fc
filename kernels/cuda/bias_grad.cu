#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"

namespace stagecoach::cuda {
namespace {

// Rows that one thread adds, one after another. Chunks of them make a smaller matrix of partial
// sums, chunks of its rows the next, until one row is left: few threads wait for a long sum, and
// rounding errors grow with the number of levels. The first chunks, of the gradient, are smaller:
// they are what keeps all of a GPU busy.
constexpr std::int64_t kFirstChunk = 16, kChunk = 64;

// output [ceil(rows / chunk), columns] = sums over the chunks of the rows of `input`.
template <typename T, int kSize>
__global__ void __launch_bounds__(kThreads)
    sum_chunks_kernel(std::int64_t items, std::int64_t rows, std::int64_t columns,
                      std::int64_t chunk_rows, float* output, const T* input, bool accumulate) {
  const std::int64_t packs = columns / kSize;
  for (std::int64_t i = first_item(); i < items; i += item_stride()) {
    const std::int64_t chunk = i / packs, column = i % packs * kSize;
    const std::int64_t last = std::min((chunk + 1) * chunk_rows, rows);
    float sums[kSize] = {};
    for (std::int64_t row = chunk * chunk_rows; row < last; ++row) {
      add(sums, load<T, kSize>(input + row * columns + column));
    }
    float* to = output + chunk * columns + column;
    for (int k = 0; k < kSize && accumulate; ++k) sums[k] = to[k] + sums[k];
    store_sums(to, sums);
  }
}

template <typename T>
void sum_chunks(Context& context, std::int64_t rows, std::int64_t columns, std::int64_t chunk_rows,
                float* output, const T* input, bool accumulate) {
  const auto run = [&](std::int64_t items, auto kernel) {
    launch(context, items, kernel, items, rows, columns, chunk_rows, output, input, accumulate);
  };
  const std::int64_t chunks = groups_of(rows, chunk_rows);
  if (packable<T>(columns, output, input)) {
    run(chunks * columns / kPack<T>, sum_chunks_kernel<T, kPack<T>>);
  } else {
    run(chunks * columns, sum_chunks_kernel<T, 1>);
  }
}

}  // namespace

std::int64_t bias_grad_workspace_bytes(std::int64_t rows, std::int64_t channels) {
  std::int64_t partial_rows = rows = groups_of(rows, kFirstChunk);
  while (rows > kChunk) {
    rows = groups_of(rows, kChunk);
    partial_rows += rows;
  }
  return partial_rows * channels * static_cast<std::int64_t>(sizeof(float));
}

void bias_grad(Context& context, Tensor bias_grad, Tensor output_grad, GradientMode mode,
               void* workspace) {
  const std::int64_t columns = bias_grad.elements(), pixels = output_grad.elements() / columns;
  std::int64_t rows = groups_of(pixels, kFirstChunk);
  auto* sums = static_cast<float*>(workspace);
  with_element_type(output_grad.spec.dtype, [&]<typename T>(T) {
    sum_chunks(context, pixels, columns, kFirstChunk, sums, output_grad.as<T>(), false);
  });
  while (rows > kChunk) {
    float* next = sums + rows * columns;
    sum_chunks(context, rows, columns, kChunk, next, sums, false);
    sums = next;
    rows = groups_of(rows, kChunk);
  }
  sum_chunks(context, rows, columns, kChunk, bias_grad.as<float>(), sums,
             mode == GradientMode::kAccumulate);
}

}  // namespace stagecoach::cuda
