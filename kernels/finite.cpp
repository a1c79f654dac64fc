#include "kernels/finite.h"

#include "kernels/backend.h"

namespace stagecoach {

void raise_unless_finite(Context& context, Tensor losses) {
  constexpr const char* kName = "raise_unless_finite";
  check_tensor(context, kName, "losses", losses, row_major(losses.shape()));
  if (context.failure_flag() == nullptr) return;
  backend_of(context).raise_unless_finite(context, losses);
}

}  // namespace stagecoach
