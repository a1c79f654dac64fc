// What the tests of the kernels share: random tensors, access by logical index, running on a
// context, comparing bytes.
#pragma once

#include <cstring>
#include <vector>

#include "core/buffer.h"
#include "core/context.h"
#include "core/philox.h"

namespace stagecoach::testing {

// Logical elements of a tensor, whatever its format. The tensor's memory must be on the CPU.
inline std::int64_t offset_of(const TensorSpec& spec, std::int64_t n, std::int64_t c,
                              std::int64_t h, std::int64_t w) {
  const Shape& s = spec.shape;
  if (spec.format == MemoryFormat::kChannelsLast) return ((n * s[2] + h) * s[3] + w) * s[1] + c;
  return ((n * s[1] + c) * s[2] + h) * s[3] + w;
}

inline float& at(const Tensor& tensor, std::int64_t n, std::int64_t c, std::int64_t h,
                 std::int64_t w) {
  return tensor.as<float>()[offset_of(tensor.spec, n, c, h, w)];
}

inline float& at(const Tensor& tensor, std::int64_t row, std::int64_t column) {
  return tensor.as<float>()[row * tensor.shape()[1] + column];
}

// Uniform in [-bound, bound), in the order of memory; the same for the same seed.
inline void fill_random(const Tensor& tensor, std::uint64_t seed, float bound = 1.0f) {
  const RandomStream stream{seed, RandomUse::kSyntheticData};
  float* data = tensor.as<float>();
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    data[i] = (2.0f * uniform01(stream.word(static_cast<std::uint64_t>(i))) - 1.0f) * bound;
  }
}

inline OwnedTensor random_tensor(const TensorSpec& spec, std::uint64_t seed, float bound = 1.0f) {
  OwnedTensor result(spec);
  fill_random(result.tensor, seed, bound);
  return result;
}

inline OwnedTensor filled_tensor(const TensorSpec& spec, float value) {
  OwnedTensor result(spec);
  float* data = result.tensor.as<float>();
  for (std::int64_t i = 0; i < result.tensor.elements(); ++i) data[i] = value;
  return result;
}

inline OwnedTensor copy_of(const Tensor& tensor) {
  OwnedTensor result(tensor.spec);
  std::memcpy(result.tensor.data, tensor.data, static_cast<std::size_t>(tensor.bytes()));
  return result;
}

// A tensor's memory, to compare results bit by bit.
inline std::vector<std::uint8_t> bytes_of(const Tensor& tensor) {
  const auto* data = static_cast<const std::uint8_t*>(tensor.data);
  return {data, data + tensor.bytes()};
}

// Calls body(context) on a context of this target (or a number of threads on the CPU) with
// `workspace_bytes` of scratch memory, then waits for the stream; throws what failed there.
template <typename Body>
void run_on_context(const Target& target, std::int64_t workspace_bytes, const Body& body) {
  const OwnedTensor workspace(row_major({(workspace_bytes + 3) / 4}));
  // Scratch memory holds what the last operation left there.
  std::memset(workspace.tensor.data, 0xFF, static_cast<std::size_t>(workspace.tensor.bytes()));
  Context context(target);
  context.set_workspace(workspace.tensor);
  body(context);
  context.stream().synchronize();
}

template <typename Body>
void run_on_context(const Target& target, const Body& body) {
  run_on_context(target, 0, body);
}

}  // namespace stagecoach::testing
