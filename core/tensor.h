// Tensor and TensorSpec: small values that describe memory. They own nothing.
#pragma once

#include <cstdint>
#include <string>

#include "core/device.h"
#include "core/dtype.h"
#include "core/shape.h"

namespace stagecoach {

// How the logical shape lies in memory. Shapes are always given in logical order: activations
// [N, C, H, W], convolution weights [O, I, KH, KW].
enum class MemoryFormat : std::uint8_t {
  kRowMajor,      // last dimension fastest: [N, C, H, W]
  kChannelsLast,  // rank 4 only; dimension 1 fastest: stored as [N, H, W, C] or [O, KH, KW, I]
};

// What a tensor is, without its memory: all planning works on specs.
struct TensorSpec {
  DType dtype = DType::kF32;
  Shape shape;
  MemoryFormat format = MemoryFormat::kRowMajor;

  std::int64_t elements() const { return shape.elements(); }
  std::int64_t bytes() const;     // throws Error when they do not fit into 64 bits
  std::string to_string() const;  // "F32 [8, 3, 224, 224] channels_last"
  bool operator==(const TensorSpec&) const = default;
};

// fp32 activations or weights of rank 4 in the layout that this project computes in.
TensorSpec channels_last(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w,
                         DType dtype = DType::kF32);
// fp32 row-major tensor of any shape.
TensorSpec row_major(Shape shape, DType dtype = DType::kF32);

// A view of memory that a Buffer or an Arena owns and that outlives the view.
struct Tensor {
  void* data = nullptr;
  TensorSpec spec;
  Device device;

  bool defined() const { return data != nullptr; }
  const Shape& shape() const { return spec.shape; }
  std::int64_t elements() const { return spec.elements(); }
  std::int64_t bytes() const { return spec.bytes(); }

  // The elements as T; throws Error when T is not the dtype.
  template <typename T>
  T* as() const {
    check_dtype(DTypeOf<T>::value);
    return static_cast<T*>(data);
  }

 private:
  void check_dtype(DType wanted) const;
};

// The rows [first, first + count) of `tensor` along its first dimension; throws Error when it has
// fewer.
Tensor rows_of(const Tensor& tensor, std::int64_t first, std::int64_t count);

// Throws Error "OPERATION: expected NAME SPEC, got ..." unless `tensor` has memory, this spec, and
// lies on `device`: "expected NAME SPEC on cpu, got SPEC on cuda:0".
void check_tensor(Device device, const char* operation, const char* name, const Tensor& tensor,
                  const TensorSpec& expected);

}  // namespace stagecoach
