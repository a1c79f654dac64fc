// Target: what operations will run on, and how: all that planning may depend on. Plans are made
// from it without the device.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/device.h"

namespace stagecoach {

// How matrix products and convolutions compute.
enum class Precision : std::uint8_t {
  kFp32,  // fp32 throughout
  kTf32,  // fp32 tensors; products of operands rounded to TF32 (10 bits of mantissa), fp32 sums
  kBf16,  // bf16 activations and their gradients; fp32 sums, weights, weight gradients, optimizer
};

// "fp32", "tf32", "bf16".
constexpr std::string_view name_of(Precision precision) {
  switch (precision) {
    case Precision::kFp32:
      return "fp32";
    case Precision::kTf32:
      return "tf32";
    case Precision::kBf16:
      return "bf16";
  }
  return "?";
}

// How the CPU convolves. Both round differently, so this is a choice of the user, or of the shape
// of a layer, and never of the machine.
enum class Convolution : std::uint8_t {
  kAuto,      // Winograd's algorithm where it saves time
  kDirect,    // never
  kWinograd,  // wherever it can
};

struct Target {
  // Not explicit: a number of threads is a target, the CPU.
  Target(int compute_threads = 1, Device on = {}) : device(on), threads(compute_threads) {}

  Device device;
  int threads = 1;  // compute threads of a CPU context
  Precision precision = Precision::kFp32;
  Convolution convolution = Convolution::kAuto;  // CPU
  bool deterministic = true;  // false: also algorithms whose sums have no fixed order
  bool tune = false;          // GPU: time the algorithms instead of trusting the library's order
};

}  // namespace stagecoach
