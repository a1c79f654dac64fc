#include "kernels/add.h"

#include "kernels/cpu/add.h"
#include "kernels/cuda/operations.h"
#include "kernels/dispatch.h"

namespace stagecoach {

void add(Context& context, Tensor output, Tensor a, Tensor b) {
  constexpr const char* kName = "add";
  check_floating(kName, "a", context, a.spec);
  check_tensor(kName, "a", a, a.spec);
  check_tensor(kName, "b", b, a.spec);
  check_tensor(kName, "output", output, a.spec);
  if (on_cuda(context)) return cuda::add(context, output, a, b);
  context.stream().enqueue([=, &context] {
    cpu::add(context.pool(), a.elements(), output.as<float>(), a.as<float>(), b.as<float>());
  });
}

}  // namespace stagecoach
