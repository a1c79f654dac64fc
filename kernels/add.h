// The sum of two tensors, element by element.
#pragma once

#include "core/context.h"

namespace stagecoach {

// output = a + b; all F32 or (on a GPU) BF16, of one spec. Any of them may be the same tensor.
void add(Context& context, Tensor output, Tensor a, Tensor b);

}  // namespace stagecoach
