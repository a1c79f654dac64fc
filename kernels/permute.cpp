#include "kernels/permute.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace stagecoach {

void permute_format(Context& context, Tensor output, Tensor input) {
  constexpr const char* kName = "permute_format";
  check_floating(kName, "input", context, input.spec);
  STAGECOACH_CHECK(input.shape().rank() == 4, kName, "input of rank 4", input.spec.to_string());
  TensorSpec expected = input.spec;
  expected.format = output.spec.format;
  check_tensor(context, kName, "input", input, input.spec);
  check_tensor(context, kName, "output", output, expected);
  STAGECOACH_CHECK(output.data != input.data, kName, "output beside the input",
                   "both in the same memory");
  backend_of(context).permute_format(context, output, input);
}

}  // namespace stagecoach
