#include "core/tensor.h"

#include "core/error.h"

namespace stagecoach {

std::string TensorSpec::to_string() const {
  return fmt::format("{} {}{}", name_of(dtype), shape.to_string(),
                     format == MemoryFormat::kChannelsLast ? " channels_last" : "");
}

TensorSpec channels_last(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w,
                         DType dtype) {
  return {dtype, {n, c, h, w}, MemoryFormat::kChannelsLast};
}

TensorSpec row_major(Shape shape, DType dtype) {
  return {dtype, shape, MemoryFormat::kRowMajor};
}

void Tensor::check_dtype(DType wanted) const {
  STAGECOACH_CHECK(spec.dtype == wanted, "Tensor::as", std::string(name_of(wanted)),
                   spec.to_string());
}

void check_tensor(const char* operation, const char* name, const Tensor& tensor,
                  const TensorSpec& expected) {
  STAGECOACH_CHECK(tensor.defined(), operation, fmt::format("{} {}", name, expected.to_string()),
                   "no memory");
  STAGECOACH_CHECK(tensor.spec == expected, operation,
                   fmt::format("{} {}", name, expected.to_string()), tensor.spec.to_string());
}

}  // namespace stagecoach
