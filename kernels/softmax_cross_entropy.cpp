#include "kernels/softmax_cross_entropy.h"

#include "kernels/cpu/softmax_cross_entropy.h"
#include "kernels/cuda/operations.h"
#include "kernels/dispatch.h"

namespace stagecoach {

void softmax_cross_entropy(Context& context, Tensor losses, Tensor correct, Tensor logits_grad,
                           Tensor logits, Tensor labels, float scale) {
  constexpr const char* kName = "softmax_cross_entropy";
  check_floating(kName, "logits", context, logits.spec);
  STAGECOACH_CHECK(logits.shape().rank() == 2 && logits.spec.format == MemoryFormat::kRowMajor &&
                       logits.shape()[1] >= 1,
                   kName, "logits [N, C] row_major with C >= 1", logits.spec.to_string());
  const std::int64_t rows = logits.shape()[0], classes = logits.shape()[1];
  check_tensor(kName, "logits", logits, logits.spec);
  check_tensor(kName, "logits_grad", logits_grad, logits.spec);
  check_tensor(kName, "losses", losses, row_major({rows}));
  check_tensor(kName, "correct", correct, row_major({rows}, DType::kI32));
  check_tensor(kName, "labels", labels, row_major({rows}, DType::kI32));
  if (on_cuda(context)) {
    return cuda::softmax_cross_entropy(context, losses, correct, logits_grad, logits, labels,
                                       scale);
  }
  context.stream().enqueue([=, &context] {
    const auto* label = labels.as<std::int32_t>();
    for (std::int64_t row = 0; row < rows; ++row) {
      STAGECOACH_CHECK(label[row] >= 0 && label[row] < classes, kName,
                       fmt::format("labels from 0 to {}", classes - 1),
                       fmt::format("label {} in row {}", label[row], row));
    }
    cpu::softmax_cross_entropy(context.pool(), rows, classes, losses.as<float>(),
                               correct.as<std::int32_t>(), logits_grad.as<float>(),
                               logits.as<float>(), label, scale);
  });
}

}  // namespace stagecoach
