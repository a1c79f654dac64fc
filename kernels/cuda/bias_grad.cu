#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/step_state.h"

namespace stagecoach::cuda {
namespace {

// Rows that one thread adds, one after another. Chunks of them make a smaller matrix of partial
// sums, chunks of its rows the next, until one row is left: few threads wait for a long sum, and
// rounding errors grow with the number of levels. The first chunks, of the gradient, are smaller:
// they are what keeps all of a GPU busy.
constexpr int kFirstChunk = 16, kChunk = 64;
// A block makes the first two levels of a piece of the rows and a group of the columns.
constexpr int kPieceRows = kFirstChunk * kChunk, kPacksOfGroup = kThreads / kChunk;

// The sum of up to kChunk rows of a column, from `row` on.
__device__ float chunk_sum(const float* column, std::int64_t columns, std::int64_t row,
                           std::int64_t rows) {
  constexpr int kAtOnce = 16;  // that are read before they are added
  const std::int64_t last = std::min(row + kChunk, rows);
  float sum = 0.0f;
  for (; row + kAtOnce <= last; row += kAtOnce) {
    float values[kAtOnce];
    for (int k = 0; k < kAtOnce; ++k) values[k] = column[(row + k) * columns];
    for (const float value : values) sum += value;
  }
  for (; row < last; ++row) sum += column[row * columns];
  return sum;
}

// result [columns] = sums over the rows of `input`. `partial`: bias_grad_workspace_bytes();
// `finished` is 0, before and after: the block that ends last makes the other levels.
template <typename T, int kSize>
__global__ void __launch_bounds__(kThreads)
    bias_grad_kernel(std::int64_t rows, std::int64_t columns, std::uint32_t groups, float* result,
                     const T* input, bool accumulate, float* partial, std::uint32_t* finished) {
  __shared__ float chunks[kChunk][kPacksOfGroup * kSize];
  __shared__ bool is_last;
  const auto thread = static_cast<int>(threadIdx.x);
  const std::int64_t piece = blockIdx.x / groups, pieces = gridDim.x / groups;
  const std::int64_t first_column =
      static_cast<std::int64_t>(blockIdx.x % groups) * kPacksOfGroup * kSize;
  const int chunk = thread / kPacksOfGroup, pack = thread % kPacksOfGroup * kSize;
  const std::int64_t first = piece * kPieceRows + chunk * kFirstChunk;
  if (first < rows && first_column + pack < columns) {
    const std::int64_t last = std::min(first + kFirstChunk, rows);
    float sums[kSize] = {};
    for (std::int64_t row = first; row < last; ++row)
      add(sums, load<T, kSize>(input + row * columns + first_column + pack));
    for (int k = 0; k < kSize; ++k) chunks[chunk][pack + k] = sums[k];
  }
  __syncthreads();

  const auto write = [=](std::int64_t column, float sum) {
    result[column] = accumulate ? result[column] + sum : sum;
  };
  const std::int64_t column = first_column + thread;
  if (thread < kPacksOfGroup * kSize && column < columns) {
    const std::int64_t of_piece = (rows - piece * kPieceRows + kFirstChunk - 1) / kFirstChunk;
    const float sum = chunk_sum(&chunks[0][thread], kPacksOfGroup * kSize, 0, of_piece);
    if (pieces == 1) {
      write(column, sum);
    } else {
      partial[piece * columns + column] = sum;
    }
  }
  if (pieces == 1) return;
  __syncthreads();
  if (thread == 0) {
    __threadfence();
    is_last = atomicAdd(finished, 1u) == gridDim.x - 1;
    if (is_last) *finished = 0;
  }
  __syncthreads();
  if (!is_last) return;
  __threadfence();

  std::int64_t left = pieces;
  while (left > kChunk) {
    float* next = partial + left * columns;
    const std::int64_t next_left = (left + kChunk - 1) / kChunk;
    for (std::int64_t i = thread; i < next_left * columns; i += kThreads) {
      const std::int64_t row = i / columns;
      next[i] = chunk_sum(partial + i - row * columns, columns, row * kChunk, left);
    }
    partial = next;
    left = next_left;
    __syncthreads();
  }
  for (std::int64_t c = thread; c < columns; c += kThreads)
    write(c, chunk_sum(partial + c, columns, 0, left));
}

}  // namespace

std::int64_t bias_grad_workspace_bytes(std::int64_t rows, std::int64_t channels) {
  rows = groups_of(rows, kPieceRows);
  if (rows == 1) return 0;
  std::int64_t partial_rows = rows;
  while (rows > kChunk) {
    rows = groups_of(rows, kChunk);
    partial_rows += rows;
  }
  return partial_rows * channels * static_cast<std::int64_t>(sizeof(float));
}

void bias_grad(Context& context, Tensor bias_grad, Tensor output_grad, GradientMode mode,
               void* workspace) {
  const std::int64_t columns = bias_grad.elements(), rows = output_grad.elements() / columns;
  with_element_type(output_grad.spec.dtype, [&]<typename T>(T) {
    const auto run = [&](int pack, auto kernel) {
      const std::int64_t groups = groups_of(columns, kPacksOfGroup * pack);
      launch_blocks(context, groups_of(rows, kPieceRows) * groups, kernel, rows, columns, groups,
                    bias_grad.as<float>(), output_grad.as<T>(), mode == GradientMode::kAccumulate,
                    static_cast<float*>(workspace), &step_state(context)->finished_blocks);
    };
    if (packable<T>(columns, output_grad.as<T>())) {
      run(kPack<T>, bias_grad_kernel<T, kPack<T>>);
    } else {
      run(1, bias_grad_kernel<T, 1>);
    }
  });
}

}  // namespace stagecoach::cuda
