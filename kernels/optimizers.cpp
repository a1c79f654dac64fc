#include "kernels/optimizers.h"

#include <cmath>

#include "kernels/cpu/failure.h"
#include "kernels/cpu/optimizers.h"
#include "kernels/cpu/step.h"
#include "kernels/cuda/operations.h"
#include "kernels/dispatch.h"

namespace stagecoach {
namespace {

void check_parameter(const char* operation, const Tensor& parameter) {
  STAGECOACH_CHECK(parameter.spec.dtype == DType::kF32 && parameter.shape().rank() == 1, operation,
                   "parameter F32 [n]", parameter.spec.to_string());
  check_tensor(operation, "parameter", parameter, parameter.spec);
}

void check_copy(const char* operation, const Context& context, const Tensor& parameter,
                const Tensor& copy) {
  if (!copy.defined()) return;
  STAGECOACH_CHECK(on_cuda(context), operation, "a GPU for a copy in BF16", "the CPU");
  check_tensor(operation, "copy", copy, row_major(parameter.shape(), DType::kBF16));
}

}  // namespace

void sgd_step(Context& context, Tensor parameter, Tensor velocity, Tensor grad,
              const SgdOptions& options, Tensor copy) {
  constexpr const char* kName = "sgd_step";
  check_parameter(kName, parameter);
  check_tensor(kName, "velocity", velocity, parameter.spec);
  check_tensor(kName, "grad", grad, parameter.spec);
  check_copy(kName, context, parameter, copy);
  if (on_cuda(context)) return cuda::sgd_step(context, parameter, velocity, grad, copy, options);
  context.stream().enqueue([=, &context, &now = cpu::step_values(context)] {
    if (cpu::is_raised(context.failure_flag())) return;
    cpu::sgd_step(context.pool(), parameter.elements(), parameter.as<float>(), velocity.as<float>(),
                  grad.as<float>(), options, now.learning_rate);
  });
}

// In double, as PyTorch does.
AdamRates adam_rates(float learning_rate, const AdamOptions& options, std::int64_t step) {
  STAGECOACH_CHECK(step >= 1, "adam_rates", "step >= 1", fmt::format("step {}", step));
  const double correction1 = 1.0 - std::pow(options.beta1, static_cast<double>(step));
  const double correction2 = 1.0 - std::pow(options.beta2, static_cast<double>(step));
  return {static_cast<float>(learning_rate / correction1),
          static_cast<float>(std::sqrt(correction2))};
}

void adam_step(Context& context, Tensor parameter, Tensor m, Tensor v, Tensor grad,
               const AdamOptions& options, Tensor copy) {
  constexpr const char* kName = "adam_step";
  check_parameter(kName, parameter);
  check_tensor(kName, "m", m, parameter.spec);
  check_tensor(kName, "v", v, parameter.spec);
  check_tensor(kName, "grad", grad, parameter.spec);
  check_copy(kName, context, parameter, copy);
  if (on_cuda(context)) return cuda::adam_step(context, parameter, m, v, grad, copy, options);
  context.stream().enqueue([=, &context, &now = cpu::step_values(context)] {
    if (cpu::is_raised(context.failure_flag())) return;
    cpu::adam_step(context.pool(), parameter.elements(), parameter.as<float>(), m.as<float>(),
                   v.as<float>(), grad.as<float>(), options, now.adam);
  });
}

}  // namespace stagecoach
