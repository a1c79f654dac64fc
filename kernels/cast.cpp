#include "kernels/cast.h"

#include "core/bfloat16.h"
#include "kernels/cuda/operations.h"
#include "kernels/dispatch.h"

namespace stagecoach {
namespace {

constexpr std::int64_t kGrain = std::int64_t{1} << 16;

template <typename To, typename From>
void cast_on_cpu(Context& context, const Tensor& output, const Tensor& input) {
  context.stream().enqueue([=, &context] {
    To* to = output.as<To>();
    const From* from = input.as<From>();
    parallel_ranges(context.pool(), input.elements(), kGrain,
                    [=](std::int64_t begin, std::int64_t end, int) {
                      for (std::int64_t i = begin; i < end; ++i) to[i] = static_cast<To>(from[i]);
                    });
  });
}

}  // namespace

void cast(Context& context, Tensor output, Tensor input) {
  constexpr const char* kName = "cast";
  for (const Tensor* tensor : {&output, &input}) {
    STAGECOACH_CHECK(is_floating(tensor->spec.dtype), kName, "tensors of F32 or BF16",
                     tensor->spec.to_string());
  }
  TensorSpec expected = input.spec;
  expected.dtype = output.spec.dtype;
  check_tensor(kName, "input", input, input.spec);
  check_tensor(kName, "output", output, expected);
  if (on_cuda(context)) return cuda::cast(context, output, input);
  const bool to_bf16 = output.spec.dtype == DType::kBF16;
  if (input.spec.dtype == DType::kBF16) {
    to_bf16 ? cast_on_cpu<BFloat16, BFloat16>(context, output, input)
            : cast_on_cpu<float, BFloat16>(context, output, input);
  } else {
    to_bf16 ? cast_on_cpu<BFloat16, float>(context, output, input)
            : cast_on_cpu<float, float>(context, output, input);
  }
}

}  // namespace stagecoach
