#include "kernels/optimizers.h"

#include <cmath>

#include "core/error.h"
#include "core/portable_math.h"
#include "kernels/backend.h"

namespace stagecoach {
namespace {

void check_parameter(const Context& context, const char* operation, const Tensor& parameter) {
  STAGECOACH_CHECK(parameter.spec.dtype == DType::kF32 && parameter.shape().rank() == 1, operation,
                   "parameter F32 [n]", parameter.spec.to_string());
  check_tensor(context, operation, "parameter", parameter, parameter.spec);
}

void check_copy(const char* operation, const Context& context, const Tensor& parameter,
                const Tensor& copy) {
  if (!copy.defined()) return;
  STAGECOACH_CHECK(backend_of(context).computes_bf16(), operation, "a GPU for a copy in BF16",
                   context.device().to_string());
  check_tensor(context, operation, "copy", copy, row_major(parameter.shape(), DType::kBF16));
}

}  // namespace

void sgd_step(Context& context, Tensor parameter, Tensor velocity, Tensor grad,
              const SgdOptions& options, Tensor copy) {
  constexpr const char* kName = "sgd_step";
  check_parameter(context, kName, parameter);
  check_tensor(context, kName, "velocity", velocity, parameter.spec);
  check_tensor(context, kName, "grad", grad, parameter.spec);
  check_copy(kName, context, parameter, copy);
  backend_of(context).sgd_step(context, parameter, velocity, grad, copy, options);
}

// In double, as PyTorch does.
AdamRates adam_rates(float learning_rate, const AdamOptions& options, std::int64_t step) {
  STAGECOACH_CHECK(step >= 1, "adam_rates", "step >= 1", fmt::format("step {}", step));
  const double correction1 = 1.0 - portable::power(options.beta1, step);
  const double correction2 = 1.0 - portable::power(options.beta2, step);
  return {static_cast<float>(learning_rate / correction1),
          static_cast<float>(std::sqrt(correction2))};
}

void adam_step(Context& context, Tensor parameter, Tensor m, Tensor v, Tensor grad,
               const AdamOptions& options, Tensor copy) {
  constexpr const char* kName = "adam_step";
  check_parameter(context, kName, parameter);
  check_tensor(context, kName, "m", m, parameter.spec);
  check_tensor(context, kName, "v", v, parameter.spec);
  check_tensor(context, kName, "grad", grad, parameter.spec);
  check_copy(kName, context, parameter, copy);
  backend_of(context).adam_step(context, parameter, m, v, grad, copy, options);
}

}  // namespace stagecoach
