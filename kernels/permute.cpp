#include "kernels/permute.h"

#include "core/error.h"
#include "kernels/cpu/permute.h"
#include "kernels/cuda/operations.h"
#include "kernels/dispatch.h"

namespace stagecoach {

void permute_format(Context& context, Tensor output, Tensor input) {
  constexpr const char* kName = "permute_format";
  check_floating(kName, "input", context, input.spec);
  STAGECOACH_CHECK(input.shape().rank() == 4, kName, "input of rank 4", input.spec.to_string());
  TensorSpec expected = input.spec;
  expected.format = output.spec.format;
  check_tensor(kName, "input", input, input.spec);
  check_tensor(kName, "output", output, expected);
  STAGECOACH_CHECK(output.data != input.data, kName, "output beside the input",
                   "both in the same memory");
  if (on_cuda(context)) return cuda::permute_format(context, output, input);
  context.stream().enqueue([=, &context] {
    float* to = output.as<float>();
    const float* from = input.as<float>();
    if (output.spec.format == input.spec.format) {
      return cpu::copy(context.pool(), input.elements(), to, from);
    }
    const Shape& shape = input.shape();
    const std::int64_t channels = shape[1], pixels = shape[2] * shape[3];
    if (input.spec.format == MemoryFormat::kRowMajor) {
      cpu::transpose(context.pool(), shape[0], channels, pixels, to, from);
    } else {
      cpu::transpose(context.pool(), shape[0], pixels, channels, to, from);
    }
  });
}

}  // namespace stagecoach
