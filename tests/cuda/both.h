// Runs an operation on a GPU, simulated or real, and on the CPU, from the same inputs.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <deque>
#include <vector>

#include "core/bfloat16.h"
#include "core/copy.h"
#include "tests/kernels/tensors.h"

namespace stagecoach::testing {

inline constexpr Device kGpu{DeviceType::kCuda, 0};

// Tensors as floats, whatever their type; bytes and integers too.
using Values = std::vector<std::vector<float>>;

template <typename T>
std::vector<float> floats_of(const Tensor& tensor) {
  const T* elements = tensor.as<T>();
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(elements[i]);
  return values;
}

inline std::vector<float> values_of(const Tensor& tensor) {
  switch (tensor.spec.dtype) {
    case DType::kF32:
      return floats_of<float>(tensor);
    case DType::kBF16:
      return floats_of<BFloat16>(tensor);
    case DType::kU8:
      return floats_of<std::uint8_t>(tensor);
    case DType::kI32:
      return floats_of<std::int32_t>(tensor);
  }
  return {};
}

// Random values in [-1, 1) that BF16 holds exactly; other types than F32 and BF16 are zeros.
inline std::deque<OwnedTensor> random_inputs(const std::vector<TensorSpec>& specs,
                                             std::uint64_t seed) {
  std::deque<OwnedTensor> tensors;
  for (const TensorSpec& spec : specs) {
    OwnedTensor& owned = tensors.emplace_back(spec);
    const RandomStream stream{seed++, RandomUse::kSyntheticData};
    const auto fill = [&](auto* elements) {
      for (std::int64_t i = 0; i < spec.elements(); ++i) {
        const BFloat16 value(2.0f * uniform01(stream.word(static_cast<std::uint64_t>(i))) - 1.0f);
        elements[i] = static_cast<std::remove_pointer_t<decltype(elements)>>(value);
      }
    };
    if (spec.dtype == DType::kBF16) fill(owned.tensor.as<BFloat16>());
    if (spec.dtype == DType::kF32) fill(owned.tensor.as<float>());
  }
  return tensors;
}

// Copies of `inputs` go to the GPU; run(context, tensors) works on them; all come back.
template <typename Run>
Values on_gpu(const std::deque<OwnedTensor>& inputs, const Run& run, const Target& target) {
  Context context(target);
  std::deque<OwnedTensor> owned;
  std::vector<Tensor> tensors;
  for (const OwnedTensor& input : inputs) {
    tensors.push_back(owned.emplace_back(input.tensor.spec, target.device).tensor);
    copy(context.stream(), tensors.back(), input.tensor);
  }
  run(context, tensors);
  Values values;
  for (const Tensor& tensor : tensors) {
    values.push_back(values_of(to_host(context.stream(), tensor).tensor));
  }
  return values;
}
template <typename Run>
Values on_gpu(const std::deque<OwnedTensor>& inputs, const Run& run) {
  return on_gpu(inputs, run, Target(1, kGpu));
}

// The same on the CPU in F32; what is BF16 among the inputs is rounded to BF16 afterwards.
template <typename Run>
Values on_cpu(const std::deque<OwnedTensor>& inputs, const Run& run) {
  Context context(1);
  std::deque<OwnedTensor> owned;
  std::vector<Tensor> tensors;
  for (const OwnedTensor& input : inputs) {
    TensorSpec spec = input.tensor.spec;
    if (spec.dtype == DType::kBF16) spec.dtype = DType::kF32;
    tensors.push_back(owned.emplace_back(spec).tensor);
    const std::vector<float> values = values_of(input.tensor);
    if (spec.dtype == DType::kF32) {
      std::copy(values.begin(), values.end(), tensors.back().as<float>());
    } else {
      std::memcpy(tensors.back().data, input.tensor.data, input.tensor.bytes());
    }
  }
  run(context, tensors);
  context.stream().synchronize();
  Values values;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    values.push_back(values_of(tensors[i]));
    if (inputs[i].tensor.spec.dtype != DType::kBF16) continue;
    for (float& value : values.back()) value = static_cast<float>(BFloat16(value));
  }
  return values;
}

// Equal bits, but NaN is NaN: its other bits are the processor's choice.
inline ::testing::AssertionResult same_values(const std::vector<float>& got,
                                              const std::vector<float>& expected) {
  if (got.size() != expected.size()) return ::testing::AssertionFailure() << "sizes differ";
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(got[i]) && std::isnan(expected[i])) continue;
    if (std::bit_cast<std::uint32_t>(got[i]) == std::bit_cast<std::uint32_t>(expected[i])) continue;
    return ::testing::AssertionFailure()
           << "element " << i << " is " << got[i] << " instead of " << expected[i];
  }
  return ::testing::AssertionSuccess();
}
inline ::testing::AssertionResult same_values(const Values& got, const Values& expected) {
  if (got.size() != expected.size()) return ::testing::AssertionFailure() << "sizes differ";
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (auto same = same_values(got[i], expected[i]); !same) return same << " in tensor " << i;
  }
  return ::testing::AssertionSuccess();
}

// A context on the GPU, and tensors there.
class Gpu {
 public:
  Context& context() { return context_; }
  // Zeros; a copy of a tensor of the host.
  Tensor make(const TensorSpec& spec) { return owned_.emplace_back(spec, kGpu).tensor; }
  Tensor put(const Tensor& from) {
    const Tensor to = make(from.spec);
    copy(context_.stream(), to, from);
    context_.stream().synchronize();
    return to;
  }
  template <typename T>
  Tensor put(const std::vector<T>& values) {
    const auto size = static_cast<std::int64_t>(values.size());
    return put(Tensor{const_cast<T*>(values.data()), row_major({size}, DTypeOf<T>::value), {}});
  }
  std::vector<float> get(const Tensor& from) {
    return values_of(to_host(context_.stream(), from).tensor);
  }

 private:
  std::deque<OwnedTensor> owned_;
  Context context_{Target(1, kGpu)};
};

// Element types and sizes: of packs and threads, and of neither.
struct ElementCase {
  DType dtype;
  std::int64_t elements;
};
inline std::vector<ElementCase> element_cases() {
  std::vector<ElementCase> cases;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const std::int64_t elements : {1, 7, 8, 256, 1000, 4096, 70001}) {
      cases.push_back({dtype, elements});
    }
  }
  return cases;
}

}  // namespace stagecoach::testing
