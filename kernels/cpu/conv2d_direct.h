// Convolution of few channels (an image's colours) as matrix products whose operands are read where
// they lie: a row of the kernel is a run of memory, because the channels lie side by side. Nothing
// is copied but the input's rows, once, between zeros for the padding.
#pragma once

#include "kernels/cpu/conv2d.h"

namespace stagecoach::cpu {

extern const Conv2dForward kDirectForward;
extern const Conv2dBackwardWeight kDirectBackwardWeight;

}  // namespace stagecoach::cpu
