#include "kernels/finite.h"

#include "kernels/cpu/failure.h"
#include "kernels/cuda/operations.h"
#include "kernels/dispatch.h"

namespace stagecoach {

void raise_unless_finite(Context& context, Tensor losses) {
  constexpr const char* kName = "raise_unless_finite";
  check_tensor(kName, "losses", losses, row_major(losses.shape()));
  if (context.failure_flag() == nullptr) return;
  if (on_cuda(context)) return cuda::raise_unless_finite(context, losses);
  context.stream().enqueue([losses, flag = context.failure_flag()] {
    cpu::raise_unless_finite(losses.elements(), losses.as<float>(), flag);
  });
}

}  // namespace stagecoach
