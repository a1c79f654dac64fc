// torch.nn.functional.adaptive_avg_pool2d: output cell i averages the input rows
// [floor(i H / OH), ceil((i + 1) H / OH)), likewise for columns; divisor: the number of cells.
#pragma once

#include "core/context.h"

namespace stagecoach {

// output [N, C, OH, OW] from input [N, C, H, W], channels_last F32 or (on a GPU) BF16, all
// sizes >= 1.
void adaptive_avg_pool2d_forward(Context& context, Tensor output, Tensor input);
void adaptive_avg_pool2d_backward(Context& context, Tensor input_grad, Tensor output_grad);

}  // namespace stagecoach
