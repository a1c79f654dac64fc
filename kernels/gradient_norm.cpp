#include "kernels/gradient_norm.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace stagecoach {

void sum_of_squares(Context& context, double* sum, Tensor values) {
  constexpr const char* kName = "sum_of_squares";
  STAGECOACH_CHECK(values.spec.dtype == DType::kF32, kName, "values F32", values.spec.to_string());
  check_tensor(context, kName, "values", values, values.spec);
  backend_of(context).sum_of_squares(context, sum, values,
                                     context.workspace(kName, kSumOfSquaresWorkspace));
}

void clip_gradients(Context& context, Tensor gradients, std::span<const double> sums,
                    double max_norm, double* norms) {
  constexpr const char* kName = "clip_gradients";
  STAGECOACH_CHECK(max_norm > 0, kName, "a norm above 0", fmt::format("{}", max_norm));
  if (gradients.defined()) {
    check_tensor(context, kName, "gradients", gradients, row_major(gradients.shape()));
  }
  backend_of(context).clip_gradients(context, gradients, sums, max_norm, norms);
}

}  // namespace stagecoach
