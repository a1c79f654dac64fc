// Softmax and cross-entropy (torch.nn.functional.cross_entropy), its gradient, and the number of
// right answers, in one pass over the logits.
#pragma once

#include "core/context.h"

namespace stagecoach {

// For logits [N, C] F32 or (on a GPU) BF16 and labels [N] I32 in [0, C):
//   losses [N] fp32: -log softmax(logits)[label], computed with the maximum subtracted;
//   correct [N] I32: 1 where the largest logit (the first of equals) is the label, else 0;
//   logits_grad [N, C], dtype of the logits: (softmax - onehot) * scale. scale = 1 / (size of the
//   global batch) gives the gradient of the mean. `logits_grad` may be the same tensor as `logits`.
// Losses, answers and gradients of the rows behind `samples` are 0; -1: there are none.
// With `label_smoothing` s the loss is (1 - s) times the label's plus s times the mean of those of
// all classes, as torch's, and onehot is (1 - s) onehot + s / C.
// A label out of range fails the stream with an Error that names the row; on a GPU its loss is NaN.
void softmax_cross_entropy(Context& context, Tensor losses, Tensor correct, Tensor logits_grad,
                           Tensor logits, Tensor labels, float scale, std::int64_t samples = -1,
                           float label_smoothing = 0);

}  // namespace stagecoach
