// What a loss that is not finite does to a training step.
#pragma once

#include "core/context.h"

namespace stagecoach {

// Enqueues: raises the context's failure flag unless all `losses` (F32) are finite. From then on
// optimizers on contexts with the same flag leave weights and states as they are. Does nothing
// where the context has no flag.
void raise_unless_finite(Context& context, Tensor losses);

}  // namespace stagecoach
