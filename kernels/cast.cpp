#include "kernels/cast.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace stagecoach {
void cast(Context& context, Tensor output, Tensor input) {
  constexpr const char* kName = "cast";
  for (const Tensor* tensor : {&output, &input}) {
    STAGECOACH_CHECK(is_floating(tensor->spec.dtype), kName, "tensors of F32 or BF16",
                     tensor->spec.to_string());
  }
  TensorSpec expected = input.spec;
  expected.dtype = output.spec.dtype;
  check_tensor(context, kName, "input", input, input.spec);
  check_tensor(context, kName, "output", output, expected);
  backend_of(context).cast(context, output, input);
}

}  // namespace stagecoach
