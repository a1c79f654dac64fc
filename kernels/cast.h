// Converts between F32 and BF16, rounding to nearest, ties to even.
#pragma once

#include "core/context.h"

namespace stagecoach {

// `output` and `input`: the same shape and format, each F32 or BF16.
void cast(Context& context, Tensor output, Tensor input);

}  // namespace stagecoach
