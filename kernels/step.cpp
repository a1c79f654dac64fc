#include "kernels/step.h"

#include "kernels/cuda/operations.h"
#include "kernels/dispatch.h"

namespace stagecoach {

void begin_step(Context& context, const StepValues& values) {
  if (on_cuda(context)) cuda::begin_step(context, values);
}

}  // namespace stagecoach
