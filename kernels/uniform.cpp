#include "kernels/uniform.h"

#include "kernels/cpu/uniform.h"
#include "kernels/cuda/operations.h"
#include "kernels/dispatch.h"

namespace stagecoach {

void fill_uniform(Context& context, Tensor output, float bound, const RandomStream& stream) {
  constexpr const char* kName = "fill_uniform";
  check_floating(kName, "output", context, output.spec);
  STAGECOACH_CHECK(stream.layer < 65536, kName, "layer below 65536",
                   fmt::format("layer {}", stream.layer));
  check_tensor(kName, "output", output, output.spec);
  if (on_cuda(context)) return cuda::fill_uniform(context, output, bound, stream);
  context.stream().enqueue([=, &context] {
    // Channels-last memory holds the rows [channel] of each pixel; row-major memory is one row.
    const bool permuted = output.spec.format == MemoryFormat::kChannelsLast;
    const Shape& shape = output.shape();
    const std::int64_t channels = permuted ? shape[1] : 1;
    const std::int64_t pixels = permuted ? shape[2] * shape[3] : output.elements();
    cpu::fill_uniform(context.pool(), output.elements(), channels, pixels, output.as<float>(),
                      bound, stream);
  });
}

}  // namespace stagecoach
