#include "kernels/mean_squared_error.h"

#include "kernels/cpu/mean_squared_error.h"
#include "kernels/cuda/operations.h"
#include "kernels/dispatch.h"

namespace stagecoach {

void mean_squared_error(Context& context, Tensor losses, Tensor prediction_grad, Tensor prediction,
                        Tensor targets, float scale) {
  constexpr const char* kName = "mean_squared_error";
  check_floating(kName, "prediction", context, prediction.spec);
  STAGECOACH_CHECK(prediction.shape().rank() >= 1 && prediction.elements() > 0, kName,
                   "prediction [N, ...], not empty", prediction.spec.to_string());
  TensorSpec targets_spec = prediction.spec;
  targets_spec.dtype = DType::kF32;
  check_tensor(kName, "prediction", prediction, prediction.spec);
  check_tensor(kName, "prediction_grad", prediction_grad, prediction.spec);
  check_tensor(kName, "targets", targets, targets_spec);
  check_tensor(kName, "losses", losses, row_major({prediction.shape()[0]}));
  if (on_cuda(context)) {
    return cuda::mean_squared_error(context, losses, prediction_grad, prediction, targets, scale);
  }
  context.stream().enqueue([=, &context] {
    const std::int64_t rows = prediction.shape()[0];
    cpu::mean_squared_error(context.pool(), rows, prediction.elements() / rows, losses.as<float>(),
                            prediction_grad.as<float>(), prediction.as<float>(),
                            targets.as<float>(), scale);
  });
}

}  // namespace stagecoach
