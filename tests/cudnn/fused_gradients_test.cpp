// The graphs of bench/fused_gradients.h, as cuDNN takes them for an H100 that is not here.
#include "bench/fused_gradients.h"

#include <dlfcn.h>

#include <iostream>

#include "tests/cudnn/networks.h"

namespace stagecoach::cuda {
namespace {

using testing::device_of;

// cuDNN lists what it compiles at run time where libcuda is loaded; the toolkit's stub will do, as
// it has the same name.
bool has_libcuda() {
  for (const char* name : {"libcuda.so.1", STAGECOACH_LIBCUDA}) {
    if (dlopen(name, RTLD_NOW | RTLD_GLOBAL) != nullptr) return true;
  }
  return false;
}

// The gradient of the weight alone, its result of `dtype`.
CudnnDescriptor plain_weight_graph(const ConvProblem& p, DType dtype) {
  const auto tensor = [](ConvTensor id, DType type, const CudnnDims& dims) {
    return cudnn_tensor(static_cast<std::int64_t>(id), type, dims);
  };
  std::vector<CudnnDescriptor> operations;
  operations.push_back(
      cudnn_convolution(p, tensor(ConvTensor::kX, p.dtype(), {p.n, p.c, p.h, p.w}),
                        tensor(ConvTensor::kW, dtype, {p.o, p.c, p.kh, p.kw}),
                        tensor(ConvTensor::kY, p.dtype(), {p.n, p.o, p.out_h(), p.out_w()})));
  return cudnn_graph(operations, nullptr);
}

struct Counts {
  int precompiled = 0, compiled = 0;
};

// Of all that the heuristics name, and of every engine with its own settings.
Counts count_configs(const CudnnDevice& device, const CudnnDescriptor& graph) {
  Counts counts;
  const auto add = [&](const CudnnDescriptor& config) {
    ++(notes_of(config).compiled ? counts.compiled : counts.precompiled);
  };
  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK}) {
    for (const CudnnDescriptor& config : configurations(device, graph, mode)) add(config);
  }
  for (std::int64_t engine = 0; engine < engine_count(graph); ++engine) {
    if (const auto config = default_config(device, graph, engine)) add(*config);
  }
  return counts;
}

// Why the program writes this gradient in bf16 and casts it: see ConvProblem::dtype().
TEST(CudnnWideWeightGradients, HaveNoPrecompiledEngine) {
  SKIP_WITHOUT_CUDNN();
  has_libcuda();
  const CudnnDevice device = device_of("h100");
  for (const Convolution& convolution : testing::alexnet()) {
    const ConvProblem problem =
        packed_problem(convolution.problem(ConvKind::kBackwardWeight, Precision::kBf16, 128));
    EXPECT_GE(count_configs(device, plain_weight_graph(problem, DType::kBF16)).precompiled, 24)
        << "bf16 has many";
    const Counts alone = count_configs(device, plain_weight_graph(problem, DType::kF32));
    const Counts followed =
        count_configs(device, gradient_graph(GradientGraph::kWideWeight, problem, nullptr));
    EXPECT_EQ(alone.precompiled + followed.precompiled, 0) << problem.key();
    std::cout << fmt::format("{}: compiled at run time: {} alone, {} with an operation behind\n",
                             problem.key(), alone.compiled, followed.compiled);
  }
}

struct Case {
  GradientGraph graph;
  Precision precision;
  const char* name;
};
void PrintTo(const Case& of, std::ostream* out) {
  *out << of.name;
}

class CudnnGradientGraphs : public ::testing::TestWithParam<Case> {
 protected:
  static void check(const ConvProblem& problem) {
    const CudnnDescriptor graph = gradient_graph(GetParam().graph, problem, nullptr);
    const std::vector<CudnnDescriptor> configs = configs_to_try(device_of("h100"), graph, 3);
    ASSERT_GE(configs.size(), 1u) << problem.key();
    EXPECT_LE(configs.size(), 3u);
    for (const CudnnDescriptor& config : configs) {
      const EngineNotes notes = notes_of(config);
      EXPECT_TRUE(notes.compiled) << "worth using: " << notes.to_string();
      EXPECT_TRUE(notes.deterministic) << notes.to_string();
      std::cout << problem.key() << ": " << notes.to_string() << "\n";
    }
  }
};

TEST_P(CudnnGradientGraphs, HaveEnginesThatAreCompiledAtRunTime) {
  SKIP_WITHOUT_CUDNN();
  if (!has_libcuda()) GTEST_SKIP() << "no libcuda: " << dlerror();
  if (GetParam().graph == GradientGraph::kWideWeight) {
    for (const Convolution& convolution : testing::alexnet()) {
      check(packed_problem(
          convolution.problem(ConvKind::kBackwardWeight, GetParam().precision, 128)));
    }
  } else {
    for (const int layer : {3, 4}) {
      check(testing::alexnet()[layer].problem(ConvKind::kBackwardInput, GetParam().precision, 128));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    H100, CudnnGradientGraphs,
    ::testing::Values(Case{GradientGraph::kRelu, Precision::kBf16, "relu_bf16"},
                      Case{GradientGraph::kRelu, Precision::kTf32, "relu_tf32"},
                      Case{GradientGraph::kReluAndBias, Precision::kBf16, "relu_bias_bf16"},
                      Case{GradientGraph::kReluAndBias, Precision::kTf32, "relu_bias_tf32"},
                      Case{GradientGraph::kWideWeight, Precision::kBf16, "wide_weight_bf16"}),
    [](const auto& test) { return std::string(test.param.name); });

// The first convolution with 8 channels instead of blocks, as a benchmark runs it.
TEST(CudnnAlexNet, ItsFirstConvolutionHasPlansForEightChannels) {
  SKIP_WITHOUT_CUDNN();
  for (const Precision precision : {Precision::kBf16, Precision::kTf32}) {
    for (const ConvKind kind : {ConvKind::kForwardRelu, ConvKind::kBackwardWeight}) {
      ConvProblem problem = testing::alexnet()[0].problem(kind, precision, 128);
      problem.c = 8;
      const ConvPlan plan = std::move(list_plans(device_of("h100"), problem).at(0));
      // With TF32 the gradient of the weight has none within the limit of its workspace.
      EXPECT_TRUE(plan.tensor_cores || precision == Precision::kTf32) << problem.key();
      std::cout << problem.key() << ": " << plan.to_string() << "\n";
    }
  }
}

}  // namespace
}  // namespace stagecoach::cuda
