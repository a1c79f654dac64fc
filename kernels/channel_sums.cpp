#include "kernels/channel_sums.h"

#include "core/error.h"
#include "kernels/dispatch.h"

namespace stagecoach {

TensorSpec channel_sums_spec(const TensorSpec& gradient) {
  STAGECOACH_CHECK(gradient.shape.rank() == 4 && gradient.format == MemoryFormat::kChannelsLast,
                   "channel_sums", "a gradient channels_last of rank 4", gradient.to_string());
  const std::int64_t channels = gradient.shape[1];
  const std::int64_t pixels = gradient.elements() / channels;
  return row_major({(pixels + kChannelSumPixels - 1) / kChannelSumPixels, channels});
}

void check_channel_sums(const char* operation, const Context& context, const Tensor& sums,
                        const TensorSpec& gradient) {
  if (!sums.defined()) return;
  STAGECOACH_CHECK(on_cuda(context), operation, "a GPU for channel sums", "the CPU");
  check_tensor(operation, "channel_sums", sums, channel_sums_spec(gradient));
}

}  // namespace stagecoach
