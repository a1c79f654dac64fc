#include "kernels/dropout.h"

#include "kernels/cuda/backend.h"
#include "kernels/cuda/checks.h"
#include "kernels/cuda/divider.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/step_state.h"

namespace stagecoach::cuda {
namespace {

// A thread takes as many elements as an access does: one or two blocks of random numbers.
template <typename T>
__global__ void __launch_bounds__(kThreads, 8)  // all that a multiprocessor holds
    dropout_kernel(std::uint32_t items, Divider of_row, std::int64_t columns, bool packed,
                   T* output, const T* input, DropoutMask mask, float scale,
                   const StepState* state) {
  constexpr int kSize = kPack<T>;
  RandomStream stream{mask.seed, RandomUse::kDropout, mask.layer, state->step};
  for (std::uint32_t i = first_item(); i < items; i += item_stride()) {
    const auto [row, group] = of_row(i);
    const std::int64_t column = std::int64_t{group} * kSize, place = row * columns + column;
    const Pack<T, kSize> pack = load<T, kSize>(input + place, columns - column, packed);
    float values[kSize];
    stream.sample = mask.first_sample + row;
    for (int block = 0; block < kSize / 4; ++block) {
      const PhiloxBlock words = stream.block(static_cast<std::uint32_t>(column / 4 + block));
      for (int k = 0; k < 4; ++k) {
        const auto value = static_cast<float>(pack.values[block * 4 + k]);
        values[block * 4 + k] = uniform01(words[k]) < mask.p ? 0.0f : value * scale;
      }
    }
    store(output + place, rounded<T>(values), columns - column, packed);
  }
}

}  // namespace

void CudaBackend::dropout(Context& context, Tensor output, Tensor input,
                          const DropoutMask& mask) const {
  const std::int64_t rows = input.shape()[0], columns = input.shape()[1];
  with_element_type(input.spec.dtype, [&]<typename T>(T) {
    T* to = output.as<T>();
    const T* from = input.as<T>();
    const std::int64_t of_row = groups_of(columns, kPack<T>);
    const std::uint32_t items = check_items("dropout", input.spec, rows * of_row);
    launch(context, items, dropout_kernel<T>, items, Divider(static_cast<std::uint32_t>(of_row)),
           columns, packable<T>(columns, to, from), to, from, mask, 1.0f / (1.0f - mask.p),
           step_state(context));
  });
}

}  // namespace stagecoach::cuda
