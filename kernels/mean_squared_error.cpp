#include "kernels/mean_squared_error.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace stagecoach {

void mean_squared_error(Context& context, Tensor losses, Tensor prediction_grad, Tensor prediction,
                        Tensor targets, float scale, std::int64_t samples) {
  constexpr const char* kName = "mean_squared_error";
  check_floating(kName, "prediction", context, prediction.spec);
  STAGECOACH_CHECK(prediction.shape().rank() >= 1 && prediction.elements() > 0, kName,
                   "prediction [N, ...], not empty", prediction.spec.to_string());
  TensorSpec targets_spec = prediction.spec;
  targets_spec.dtype = DType::kF32;
  check_tensor(context, kName, "prediction", prediction, prediction.spec);
  check_tensor(context, kName, "prediction_grad", prediction_grad, prediction.spec);
  check_tensor(context, kName, "targets", targets, targets_spec);
  check_tensor(context, kName, "losses", losses, row_major({prediction.shape()[0]}));
  const std::int64_t rows = prediction.shape()[0];
  if (samples < 0) samples = rows;
  STAGECOACH_CHECK(samples <= rows, kName, fmt::format("at most {} samples", rows),
                   fmt::format("{}", samples));
  backend_of(context).mean_squared_error(context, losses, prediction_grad, prediction, targets,
                                         scale, samples);
}

}  // namespace stagecoach
