#include "kernels/step.h"

#include "kernels/cpu/step.h"
#include "kernels/cuda/operations.h"
#include "kernels/dispatch.h"

namespace stagecoach {

void begin_step(Context& context, const StepValues& values) {
  if (on_cuda(context)) return cuda::begin_step(context, values);
  context.stream().enqueue([to = &cpu::step_values(context), values] { *to = values; });
}

}  // namespace stagecoach
