// Fills a tensor with uniform random numbers that depend on nothing but the stream.
#pragma once

#include "core/context.h"
#include "core/philox.h"

namespace stagecoach {

// Logical element e (row-major order of the shape, whatever the format) becomes
// (2 * uniform01(stream.word(e)) - 1) * bound. F32 or (on a GPU) BF16.
void fill_uniform(Context& context, Tensor output, float bound, const RandomStream& stream);

}  // namespace stagecoach
