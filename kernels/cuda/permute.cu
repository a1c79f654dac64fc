#include "kernels/permute.h"

#include "core/copy.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.h"

namespace stagecoach::cuda {
namespace {

// Each of the row-major matrices [rows, columns] of `input` becomes [columns, rows]. A thread
// writes a pack of one row of the output; the threads beside it read the elements beside its own.
template <typename T, int kSize>
__global__ void __launch_bounds__(kThreads)
    transpose_kernel(std::int64_t items, std::int64_t rows, std::int64_t columns, T* output,
                     const T* input) {
  const std::int64_t packs = rows / kSize;
  for (std::int64_t i = first_item(); i < items; i += item_stride()) {
    const std::int64_t column = i % columns, pack_of_all = i / columns;
    const std::int64_t row = pack_of_all % packs * kSize, matrix = pack_of_all / packs;
    const T* from = input + (matrix * rows + row) * columns + column;
    Pack<T, kSize> pack;
    for (int k = 0; k < kSize; ++k) pack.values[k] = from[k * columns];
    store(output + (matrix * columns + column) * rows + row, pack);
  }
}

}  // namespace

void CudaBackend::permute_format(Context& context, Tensor output, Tensor input) const {
  if (output.spec.format == input.spec.format) return copy(context.stream(), output, input);
  const Shape& shape = input.shape();
  const std::int64_t channels = shape[1], pixels = shape[2] * shape[3];
  const bool from_row_major = input.spec.format == MemoryFormat::kRowMajor;
  const std::int64_t rows = from_row_major ? channels : pixels;
  const std::int64_t columns = from_row_major ? pixels : channels;
  with_element_type(input.spec.dtype, [&]<typename T>(T) {
    const auto run = [&](std::int64_t items, auto kernel) {
      launch(context, items, kernel, items, rows, columns, output.as<T>(), input.as<T>());
    };
    if (packable<T>(rows, output.as<T>())) {
      run(input.elements() / kPack<T>, transpose_kernel<T, kPack<T>>);
    } else {
      run(input.elements(), transpose_kernel<T, 1>);
    }
  });
}

}  // namespace stagecoach::cuda
