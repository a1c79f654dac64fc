#include "core/tensor.h"

#include "core/error.h"

namespace stagecoach {

std::int64_t TensorSpec::bytes() const {
  std::int64_t bytes = 0;
  STAGECOACH_CHECK(!__builtin_mul_overflow(elements(), size_of(dtype), &bytes), "TensorSpec",
                   "less than 2^63 bytes", to_string());
  return bytes;
}

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

Tensor rows_of(const Tensor& tensor, std::int64_t first, std::int64_t count) {
  // Not first + count: it may overflow.
  STAGECOACH_CHECK(tensor.defined() && tensor.shape().rank() >= 1 && first >= 0 && count >= 1 &&
                       first < tensor.shape()[0] && count <= tensor.shape()[0] - first,
                   "rows_of", fmt::format("a tensor with {} rows from row {} on", count, first),
                   tensor.defined() ? tensor.spec.to_string() : "no memory");
  Tensor rows = tensor;
  rows.data = static_cast<char*>(tensor.data) + tensor.bytes() / tensor.shape()[0] * first;
  rows.spec.shape = tensor.shape().with(0, count);
  return rows;
}

void check_tensor(Device device, const char* operation, const char* name, const Tensor& tensor,
                  const TensorSpec& expected) {
  STAGECOACH_CHECK(tensor.defined(), operation, fmt::format("{} {}", name, expected.to_string()),
                   "no memory");
  STAGECOACH_CHECK(tensor.spec == expected, operation,
                   fmt::format("{} {}", name, expected.to_string()), tensor.spec.to_string());
  STAGECOACH_CHECK(tensor.device == device, operation,
                   fmt::format("{} {} on {}", name, expected.to_string(), device.to_string()),
                   fmt::format("{} on {}", tensor.spec.to_string(), tensor.device.to_string()));
}

}  // namespace stagecoach
