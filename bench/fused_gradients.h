// Gradients of convolutions as graphs that the program does not use: cuDNN has only engines for
// them that it compiles at run time. For the benchmarks that find out what they are worth.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/conv2d_plans.h"

namespace stagecoach::cuda {

enum class GradientGraph {
  kRelu,         // dx = gradient of the input where relu_output > 0, else 0
  kReluAndBias,  // and bias_grad [C] F32 = sum of this dx over N, H, W
  kWideWeight,   // dw in F32, whatever x and dy are
};

// What a variant pack binds memory to, beside the names of ConvTensor.
enum class GradientTensor : std::int64_t { kReluOutput = 5, kBiasGrad = 6 };

// kWideWeight: of a problem of kBackwardWeight; the others: of kBackwardInput. `handle` null: for
// planning without a device.
CudnnDescriptor gradient_graph(GradientGraph kind, const ConvProblem& problem,
                               cudnnHandle_t handle);

// What cuDNN says of a configuration's engine.
struct EngineNotes {
  std::int64_t engine = 0;
  bool compiled = false;  // at run time
  bool tensor_cores = false;
  bool deterministic = true;

  // "engine 4, compiled at run time, tensor cores"
  std::string to_string() const;
};
EngineNotes notes_of(const CudnnDescriptor& config);

// How many engines cuDNN numbers for a graph, and the configuration of one with its own settings;
// none where it does not support the graph.
std::int64_t engine_count(const CudnnDescriptor& graph);
std::optional<CudnnDescriptor> default_config(const CudnnDevice& device,
                                              const CudnnDescriptor& graph, std::int64_t engine);

// Which configurations to try, at most `most`: the heuristics' first two, then engines that are not
// yet among them, by number. Empty where libcuda cannot be loaded.
std::vector<CudnnDescriptor> configs_to_try(const CudnnDevice& device, const CudnnDescriptor& graph,
                                            std::size_t most);

}  // namespace stagecoach::cuda
