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

}  // namespace stagecoach
