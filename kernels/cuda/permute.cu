#include "kernels/permute.h"

#include "core/copy.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.h"

namespace stagecoach::cuda {
namespace {

constexpr int kTile = 64;  // rows and columns that a block takes of a matrix

// Each of the row-major matrices [rows, columns] of `input` becomes [columns, rows], tile by tile:
// both sides are accessed where they lie one after another, along the rows of the tile and along
// its columns. `down` and `across`: tiles of a matrix.
template <typename T, int kSize>
__global__ void __launch_bounds__(kThreads)
    transpose_kernel(int rows, int columns, std::uint32_t down, std::uint32_t across, T* output,
                     const T* input) {
  __shared__ T tile[kTile][kTile + 4 / sizeof(T)];
  const std::uint32_t place = blockIdx.x % (down * across);
  const std::int64_t matrix = std::int64_t{blockIdx.x / (down * across)} * rows * columns;
  const int top = static_cast<int>(place / across) * kTile;
  const int left = static_cast<int>(place % across) * kTile;
  const int height = rows - top < kTile ? rows - top : kTile;
  const int width = columns - left < kTile ? columns - left : kTile;
  const T* from = input + matrix + static_cast<std::int64_t>(top) * columns + left;
  T* to = output + matrix + static_cast<std::int64_t>(left) * rows + top;
  const int first = static_cast<int>(threadIdx.x) * kSize;

  for (int i = first; i < height * width; i += kThreads * kSize) {
    int row = i / width, column = i % width;
    const auto pack = load<T, kSize>(from + static_cast<std::int64_t>(row) * columns + column);
    for (int k = 0; k < kSize; ++k) {
      tile[row][column] = pack.values[k];
      if (++column == width) {
        column = 0;
        ++row;
      }
    }
  }
  __syncthreads();

  for (int i = first; i < height * width; i += kThreads * kSize) {
    int column = i / height, row = i % height;
    T* at = to + static_cast<std::int64_t>(column) * rows + row;
    Pack<T, kSize> pack;
    for (int k = 0; k < kSize; ++k) {
      pack.values[k] = tile[row][column];
      if (++row == height) {
        row = 0;
        ++column;
      }
    }
    store(at, pack);
  }
}

// Whether rows of `length` elements, or tiles that are as wide, are whole packs.
bool packs(std::int64_t length, int pack) {
  return length % pack == 0 || length <= kTile;
}

}  // namespace

void CudaBackend::permute_format(Context& context, Tensor output, Tensor input) const {
  const Shape& shape = input.shape();
  const std::int64_t channels = shape[1], pixels = shape[2] * shape[3];
  if (output.spec.format == input.spec.format || channels == 1 || pixels == 1) {
    input.spec = output.spec;
    return copy(context.stream(), output, input);
  }
  const bool from_row_major = input.spec.format == MemoryFormat::kRowMajor;
  const std::int64_t rows = from_row_major ? channels : pixels;
  const std::int64_t columns = from_row_major ? pixels : channels;
  const std::int64_t down = groups_of(rows, kTile), across = groups_of(columns, kTile);
  with_element_type(input.spec.dtype, [&]<typename T>(T) {
    const auto run = [&](auto kernel) {
      launch_blocks(context, shape[0] * down * across, kernel, rows, columns, down, across,
                    output.as<T>(), input.as<T>());
    };
    const bool packed = packs(rows, kPack<T>) && packs(columns, kPack<T>);
    if (packed && packable<T>(rows * columns, output.as<T>(), input.as<T>())) {
      run(transpose_kernel<T, kPack<T>>);
    } else {
      run(transpose_kernel<T, 1>);
    }
  });
}

}  // namespace stagecoach::cuda
