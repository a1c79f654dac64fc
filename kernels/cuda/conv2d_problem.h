// One convolution as the library sees it: all that the choice of an algorithm depends on, but the
// device. No header of CUDA is needed.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "core/target.h"
#include "kernels/conv2d.h"

namespace stagecoach::cuda {

enum class ConvKind : std::uint8_t {
  kForward,         // y = x * w + b
  kForwardRelu,     // y = max(x * w + b, 0)
  kBackwardInput,   // dx from dy, w
  kBackwardWeight,  // dw from dy, x
};

// "forward", "forward_relu", "backward_input", "backward_weight".
std::string_view name_of(ConvKind kind);

// x [n, c, h, w] and w [o, c, kh, kw] give y [n, o, out_h(), out_w()], all channels_last.
struct ConvProblem {
  ConvKind kind = ConvKind::kForward;
  Precision precision = Precision::kFp32;
  bool deterministic = true;
  std::int64_t n = 1, c = 1, h = 1, w = 1;
  std::int64_t o = 1, kh = 1, kw = 1;
  std::int64_t stride_h = 1, stride_w = 1;
  std::int64_t padding_h = 0, padding_w = 0;

  // Of x, w, b, y and their gradients: cuDNN's precompiled engines do not mix bf16 with fp32.
  DType dtype() const { return precision == Precision::kBf16 ? DType::kBF16 : DType::kF32; }
  std::int64_t out_h() const { return (h + 2 * padding_h - kh) / stride_h + 1; }
  std::int64_t out_w() const { return (w + 2 * padding_w - kw) / stride_w + 1; }

  auto operator<=>(const ConvProblem&) const = default;
  // Every member, for messages and as the key of the file of plans, so it must not change meaning:
  // "forward_relu bf16 deterministic x=32,48,57,57 w=64,48,3,3 stride=1,1 padding=0,0".
  std::string key() const;
};

// An engine of cuDNN and its settings: enough to make the same plan again with the same version of
// cuDNN on the same kind of GPU.
struct EngineChoice {
  std::int64_t engine = 0;
  std::vector<std::pair<std::int64_t, std::int64_t>> knobs;  // type, value

  bool operator==(const EngineChoice&) const = default;
};

}  // namespace stagecoach::cuda
