#include "kernels/softmax_cross_entropy.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace stagecoach {

void softmax_cross_entropy(Context& context, Tensor losses, Tensor correct, Tensor logits_grad,
                           Tensor logits, Tensor labels, float scale, std::int64_t samples,
                           float label_smoothing) {
  constexpr const char* kName = "softmax_cross_entropy";
  check_floating(kName, "logits", context, logits.spec);
  STAGECOACH_CHECK(logits.shape().rank() == 2 && logits.spec.format == MemoryFormat::kRowMajor &&
                       logits.shape()[1] >= 1,
                   kName, "logits [N, C] row_major with C >= 1", logits.spec.to_string());
  const std::int64_t rows = logits.shape()[0];
  check_tensor(context, kName, "logits", logits, logits.spec);
  check_tensor(context, kName, "logits_grad", logits_grad, logits.spec);
  check_tensor(context, kName, "losses", losses, row_major({rows}));
  check_tensor(context, kName, "correct", correct, row_major({rows}, DType::kI32));
  check_tensor(context, kName, "labels", labels, row_major({rows}, DType::kI32));
  if (samples < 0) samples = rows;
  STAGECOACH_CHECK(samples <= rows, kName, fmt::format("at most {} samples", rows),
                   fmt::format("{}", samples));
  backend_of(context).softmax_cross_entropy(context, losses, correct, logits_grad, logits, labels,
                                            scale, samples, label_smoothing);
}

}  // namespace stagecoach
