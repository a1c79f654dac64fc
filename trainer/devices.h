// Which devices a run uses, from what was asked and what is there.
#pragma once

#include <string>
#include <vector>

#include "core/target.h"
#include "core/tensor.h"
#include "trainer/config.h"

namespace stagecoach {

struct DeviceChoice {
  Target target;                // of the first rank
  std::vector<Device> devices;  // one for each rank
  std::string text;             // "cpu"; "cuda:0,1 (NVIDIA H100 80GB HBM3)"
  // Of activations, and so of the network's input.
  DType dtype() const { return target.precision == Precision::kBf16 ? DType::kBF16 : DType::kF32; }
};

// --device auto is the GPUs where there are any, else the CPU; cuda is all GPUs. Ranks are shared
// out in runs of neighbours: one GPU each where there are enough, else several on one. Throws
// UsageError for a GPU that is not there (with the reason), for a precision that the device does
// not have, and for options of GPUs on the CPU.
DeviceChoice choose_devices(const TrainConfig& config);

// The GPUs of "cuda:0,2": {0, 2}; none for "cuda" alone. UsageError for other words.
std::vector<int> gpu_indices(const std::string& text);

}  // namespace stagecoach
