// Which devices a run uses, from what was asked and what is there.
#pragma once

#include <string>
#include <vector>

#include "core/target.h"
#include "core/tensor.h"
#include "trainer/job.h"

namespace stagecoach {

struct DeviceChoice {
  Target target;                // of the first rank
  std::vector<Device> devices;  // one for each rank
  std::string text;             // "cpu"; "cuda:0,1 (NVIDIA H100 80GB HBM3)"
  std::string gpu;              // "NVIDIA H100 80GB HBM3"; empty on the CPU
  // Of activations, and so of the network's input.
  DType dtype() const { return target.precision == Precision::kBf16 ? DType::kBF16 : DType::kF32; }
};

// kAuto is the GPUs where there are any, else the CPU. Ranks are shared out in runs of neighbours:
// one GPU each where there are enough, else several on one; processes of a machine have one each.
// Where they are several, kAuto is the CPU, and the call is collective. Throws UsageError for a GPU
// that is not there (with the reason), for a precision that the device does not have, and for what
// only a GPU has on the CPU.
DeviceChoice choose_devices(const TrainJob& job);

// Compute threads of each of so many ranks on the CPU: its cores, shared out; at least 1.
int threads_of_rank(int ranks);

}  // namespace stagecoach
