#include "kernels/optimizers.h"

#include "kernels/cpu/optimizers.h"
#include "kernels/dispatch.h"

namespace stagecoach {
namespace {

void check_parameter(const char* operation, const Tensor& parameter) {
  STAGECOACH_CHECK(parameter.spec.dtype == DType::kF32 && parameter.shape().rank() == 1, operation,
                   "parameter F32 [n]", parameter.spec.to_string());
  check_tensor(operation, "parameter", parameter, parameter.spec);
}

}  // namespace

void sgd_step(Context& context, Tensor parameter, Tensor velocity, Tensor grad,
              const SgdOptions& options) {
  constexpr const char* kName = "sgd_step";
  require_cpu(kName, context);
  check_parameter(kName, parameter);
  check_tensor(kName, "velocity", velocity, parameter.spec);
  check_tensor(kName, "grad", grad, parameter.spec);
  context.stream().enqueue([=, &context] {
    cpu::sgd_step(context.pool(), parameter.elements(), parameter.as<float>(), velocity.as<float>(),
                  grad.as<float>(), options);
  });
}

void adam_step(Context& context, Tensor parameter, Tensor m, Tensor v, Tensor grad,
               const AdamOptions& options, std::int64_t step) {
  constexpr const char* kName = "adam_step";
  require_cpu(kName, context);
  check_parameter(kName, parameter);
  check_tensor(kName, "m", m, parameter.spec);
  check_tensor(kName, "v", v, parameter.spec);
  check_tensor(kName, "grad", grad, parameter.spec);
  STAGECOACH_CHECK(step >= 1, kName, "step >= 1", fmt::format("step {}", step));
  context.stream().enqueue([=, &context] {
    cpu::adam_step(context.pool(), parameter.elements(), parameter.as<float>(), m.as<float>(),
                   v.as<float>(), grad.as<float>(), options, step);
  });
}

}  // namespace stagecoach
