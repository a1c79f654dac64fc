#include "kernels/add.h"

#include "kernels/backend.h"

namespace stagecoach {

void add(Context& context, Tensor output, Tensor a, Tensor b) {
  constexpr const char* kName = "add";
  check_floating(kName, "a", context, a.spec);
  check_tensor(context, kName, "a", a, a.spec);
  check_tensor(context, kName, "b", b, a.spec);
  check_tensor(context, kName, "output", output, a.spec);
  backend_of(context).add(context, output, a, b);
}

}  // namespace stagecoach
