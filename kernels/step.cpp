#include "kernels/step.h"

#include "kernels/backend.h"

namespace stagecoach {

void begin_step(Context& context, const StepValues& values) {
  backend_of(context).begin_step(context, values);
}

}  // namespace stagecoach
