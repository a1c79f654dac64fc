// Copies between the two memory formats of a rank-4 tensor. The logical elements stay the same.
#pragma once

#include "core/context.h"

namespace stagecoach {

// `output` and `input`: F32 or (on a GPU) BF16, the same rank-4 shape, different formats (equal
// formats: a copy).
void permute_format(Context& context, Tensor output, Tensor input);

}  // namespace stagecoach
