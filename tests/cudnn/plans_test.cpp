// What cuDNN will run on GPUs that are not here: its plans need only their description.
#include "kernels/cuda/conv2d_plans.h"

#include <algorithm>
#include <iostream>
#include <limits>
#include <thread>

#include "tests/cuda/conv2d_cases.h"
#include "tests/cudnn/networks.h"

namespace stagecoach::cuda {
namespace {

using testing::as_run;
using testing::Convolution;
using testing::device_of;

constexpr std::int64_t kMiB = std::int64_t{1} << 20;
constexpr PlanLimits kAll = {.workspace_bytes = std::numeric_limits<std::int64_t>::max(),
                             .plans = 1000};

// cuDNN's engines for tensor cores index with 32 bits.
bool is_huge(const ConvProblem& problem) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  return problem.n * problem.c * problem.h * problem.w > kMost ||
         problem.n * problem.o * problem.out_h() * problem.out_w() > kMost;
}

// Why `problem` may go without tensor cores; empty when there is no reason.
std::string excuse(const CudnnDevice& device, const ConvProblem& problem) {
  if (problem.kind == ConvKind::kBackwardInput && problem.c == 3) return "gradient of an image";
  if (is_huge(problem)) return "2^31 elements or more";
  for (const ConvPlan& plan : list_plans(device, problem, kAll)) {
    if (!plan.tensor_cores) continue;
    // Only TF32 is excused: without Hopper's engines, cuDNN copies its operands to another layout.
    if (problem.precision != Precision::kTf32) return "";
    const bool too_much = plan.workspace_bytes > limits_for(problem).workspace_bytes;
    if (!too_much) return "";
  }
  return "every engine with tensor cores needs more workspace than the limit";
}

struct Case {
  const char* device;
  Precision precision;
};
void PrintTo(const Case& of, std::ostream* out) {
  *out << of.device << ", " << name_of(of.precision);
}

class CudnnPlans : public ::testing::TestWithParam<Case> {
 protected:
  void check(const CudnnDevice& device, const Convolution& convolution,
             const ConvProblem& problem) {
    const std::string what = std::string(convolution.name) + ": " + problem.key();
    const PlanLimits limits = limits_for(problem);
    const std::vector<ConvPlan> plans = list_plans(device, problem, limits);
    ASSERT_EQ(plans.size(), 1u) << what;
    const ConvPlan& plan = plans[0];
    EXPECT_TRUE(plan.deterministic) << what;
    EXPECT_LE(plan.workspace_bytes, limits.workspace_bytes) << what;
    const auto again = rebuild_plan(device, problem, plan.choice, limits);
    ASSERT_TRUE(again.has_value()) << what;
    EXPECT_EQ(again->choice, plan.choice) << what;
    EXPECT_EQ(again->workspace_bytes, plan.workspace_bytes) << what;
    EXPECT_EQ(again->tensor_cores, plan.tensor_cores) << what;
    if (GetParam().precision == Precision::kFp32) {
      EXPECT_FALSE(plan.tensor_cores) << what;
    } else if (!plan.tensor_cores) {
      const std::string reason = excuse(device, problem);
      EXPECT_NE(reason, "") << what << ": " << plan.to_string();
      std::cout << "no tensor cores (" << reason << "): " << what << ": " << plan.to_string()
                << "\n";
    }
  }
};

// All batches of both networks: a plan takes cuDNN a millisecond.
TEST_P(CudnnPlans, AreDeterministicWithinTheWorkspaceAndOfThePrecision) {
  SKIP_WITHOUT_CUDNN();
  const CudnnDevice device = device_of(GetParam().device);
  for (const auto* network : {&testing::alexnet(), &testing::vgg16()}) {
    for (const Convolution& convolution : *network) {
      for (const ConvKind kind : testing::kKinds) {
        for (const std::int64_t images : testing::kBatches) {
          check(device, convolution,
                as_run(convolution.problem(kind, GetParam().precision, images)));
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Gpus, CudnnPlans,
    ::testing::Values(Case{"h100", Precision::kBf16}, Case{"h100", Precision::kTf32},
                      Case{"h100", Precision::kFp32}, Case{"a100", Precision::kBf16},
                      Case{"a100", Precision::kTf32}, Case{"a100", Precision::kFp32}),
    [](const auto& test) {
      return std::string(test.param.device) + "_" + std::string(name_of(test.param.precision));
    });

// What a GPU's tests compute, small and odd, must not be found to have no plan when there is a GPU.
TEST(CudnnPlansOfTests, ExistForEveryConvolution) {
  SKIP_WITHOUT_CUDNN();
  const CudnnDevice device = device_of("h100");
  int problems = 0;
  const auto check = [&](ConvProblem problem) {
    for (const ConvKind kind : {ConvKind::kForward, ConvKind::kForwardRelu,
                                ConvKind::kBackwardInput, ConvKind::kBackwardWeight}) {
      problem.kind = kind;
      const ConvProblem run = as_run(problem);
      EXPECT_NO_THROW(list_plans(device, run, limits_for(run))) << run.key();
      ++problems;
    }
  };
  for (const Precision precision : {Precision::kBf16, Precision::kTf32, Precision::kFp32}) {
    for (const stagecoach::testing::Conv2dCase& c : stagecoach::testing::kConv2dCases) {
      check({.precision = precision,
             .n = c.images,
             .c = c.channels,
             .h = c.height,
             .w = c.width,
             .o = c.outputs,
             .kh = c.kernel_h,
             .kw = c.kernel_w,
             .stride_h = c.options.stride_h,
             .stride_w = c.options.stride_w,
             .padding_h = c.options.padding_h,
             .padding_w = c.options.padding_w});
    }
    for (const Convolution& convolution : testing::alexnet()) {
      check(convolution.problem(ConvKind::kForward, precision, 2));
    }
  }
  std::cout << problems << " problems have a plan\n";
}

// The reference job: no excuse holds here. Prints what will run.
TEST(CudnnAlexNet, OnAnH100UsesTensorCoresAndLittleWorkspace) {
  SKIP_WITHOUT_CUDNN();
  const CudnnDevice device = device_of("h100");
  for (const Precision precision : {Precision::kBf16, Precision::kTf32, Precision::kFp32}) {
    for (const Convolution& convolution : testing::alexnet()) {
      for (const ConvKind kind : testing::kKinds) {
        std::string line;
        for (const std::int64_t images : testing::kBatches) {
          const ConvProblem problem = as_run(convolution.problem(kind, precision, images));
          const std::vector<ConvPlan> plans = list_plans(device, problem, limits_for(problem));
          line += fmt::format(" | engine {:2} {:11} B", plans[0].choice.engine,
                              plans[0].workspace_bytes);
          if (precision == Precision::kFp32 || problem.c == 3) continue;
          EXPECT_TRUE(plans[0].tensor_cores) << problem.key();
          EXPECT_LE(plans[0].workspace_bytes, 4 * kMiB) << problem.key();
        }
        std::cout << fmt::format("{} {:10} {:15}{}\n", name_of(precision), convolution.name,
                                 name_of(kind), line);
      }
    }
  }
}

// Why packing exists: cuDNN would pad the image itself, for each of forward and backward.
TEST(CudnnAlexNet, ItsFirstConvolutionNeedsFarMoreWorkspaceUnpacked) {
  SKIP_WITHOUT_CUDNN();
  const CudnnDevice device = device_of("h100");
  for (const Precision precision : {Precision::kBf16, Precision::kTf32}) {
    for (const ConvKind kind : {ConvKind::kForwardRelu, ConvKind::kBackwardWeight}) {
      const ConvProblem image = testing::alexnet()[0].problem(kind, precision, 128);
      EXPECT_GE(list_plans(device, image).at(0).workspace_bytes, 64 * kMiB) << image.key();
      EXPECT_LE(list_plans(device, packed_problem(image)).at(0).workspace_bytes, kMiB);
    }
  }
}

TEST(CudnnPlanErrors, Bf16IsRefusedBelowComputeCapability8) {
  SKIP_WITHOUT_CUDNN();
  const CudnnDevice device = device_of("t4");
  const Convolution& convolution = testing::alexnet()[1];
  for (const ConvKind kind : testing::kKinds) {
    try {
      list_plans(device, convolution.problem(kind, Precision::kBf16, 32));
      FAIL() << name_of(kind);
    } catch (const Error& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find("on Tesla T4, 40 SMs for " + std::string(name_of(kind)) + " bf16"),
                std::string::npos)
          << text;
      EXPECT_NE(text.find("bf16 needs a GPU of compute capability 8.0 or newer"), std::string::npos)
          << text;
    }
    EXPECT_EQ(list_plans(device, convolution.problem(kind, Precision::kFp32, 32)).size(), 1u);
  }
}

TEST(CudnnPlanErrors, SayWhatNoEngineWasTakenFor) {
  SKIP_WITHOUT_CUDNN();
  const ConvProblem problem =
      testing::alexnet()[1].problem(ConvKind::kForwardRelu, Precision::kBf16, 32);
  try {
    list_plans(device_of("h100"), problem, {.workspace_bytes = -1});
    FAIL();
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("with too much workspace (at least 0 B)"), std::string::npos) << text;
  }
}

TEST(CudnnPlanErrors, DamagedDescriptionsOfGpus) {
  SKIP_WITHOUT_CUDNN();
  for (const char* profile : {"", "{", "{}", R"({"deviceName": 3, "multiProcessorCount": 132})",
                              R"({"deviceName": "H100", "multiProcessorCount": 132})"}) {
    EXPECT_THROW(CudnnDevice{std::string(profile)}, Error) << profile;
  }
}

TEST(CudnnPlanLists, DeterminismLeavesEnginesOut) {
  SKIP_WITHOUT_CUDNN();
  const CudnnDevice device = device_of("h100");
  std::size_t any_order_plans = 0;
  for (const ConvKind kind : testing::kKinds) {
    ConvProblem problem = testing::alexnet()[1].problem(kind, Precision::kFp32, 32);
    const std::vector<ConvPlan> fixed = list_plans(device, problem, kAll);
    problem.deterministic = false;
    const std::vector<ConvPlan> any_order = list_plans(device, problem, kAll);
    const auto deterministic = [](const ConvPlan& plan) { return plan.deterministic; };
    EXPECT_TRUE(std::all_of(fixed.begin(), fixed.end(), deterministic));
    EXPECT_EQ(std::count_if(any_order.begin(), any_order.end(), deterministic), fixed.size());
    any_order_plans += any_order.size() - fixed.size();
  }
  EXPECT_GT(any_order_plans, 0u);
}

TEST(CudnnPlanLists, HoldNoMoreThanAskedFor) {
  SKIP_WITHOUT_CUDNN();
  const ConvProblem problem =
      testing::alexnet()[1].problem(ConvKind::kForwardRelu, Precision::kBf16, 32);
  const CudnnDevice device = device_of("h100");
  EXPECT_GT(list_plans(device, problem, kAll).size(), 5u);
  EXPECT_EQ(list_plans(device, problem, {.plans = 5}).size(), 5u);
}

TEST(CudnnRebuiltPlans, RefuseWhatTheProblemOrTheLibraryDoesNotAllow) {
  SKIP_WITHOUT_CUDNN();
  const CudnnDevice device = device_of("h100");
  const ConvProblem tf32 =
      testing::alexnet()[1].problem(ConvKind::kBackwardInput, Precision::kTf32, 32);
  const EngineChoice good = list_plans(device, tf32).at(0).choice;
  ASSERT_TRUE(rebuild_plan(device, tf32, good).has_value());
  ConvProblem fp32 = tf32;
  fp32.precision = Precision::kFp32;
  EXPECT_FALSE(rebuild_plan(device, fp32, good).has_value()) << "tensor cores for strict fp32";
  EXPECT_FALSE(rebuild_plan(device, tf32, good, {.workspace_bytes = 0}).has_value());
  EngineChoice other = good;
  other.engine = 9999;
  EXPECT_FALSE(rebuild_plan(device, tf32, other).has_value());
  other = good;
  other.knobs.at(0).second = 9999;
  EXPECT_FALSE(rebuild_plan(device, tf32, other).has_value());
  other = good;
  other.knobs.at(0).first = 9999;
  EXPECT_FALSE(rebuild_plan(device, tf32, other).has_value());
}

TEST(CudnnChoices, AreMadeOncePerKindOfGpu) {
  SKIP_WITHOUT_CUDNN();
  const ConvProblem problem =
      testing::alexnet()[2].problem(ConvKind::kForwardRelu, Precision::kBf16, 32);
  const CudnnDevice h100 = device_of("h100");
  const ChosenEngine& first = choose_engine(h100, problem);
  const ChosenEngine* from_threads[4] = {};
  std::vector<std::jthread> threads;
  for (const ChosenEngine*& result : from_threads) {
    threads.emplace_back([&] { result = &choose_engine(device_of("h100"), problem); });
  }
  threads.clear();  // joins them
  for (const ChosenEngine* result : from_threads) EXPECT_EQ(result, &first);
  EXPECT_NE(&choose_engine(device_of("a100"), problem), &first);
  EXPECT_EQ(first.choice, list_plans(device_of("h100"), problem).at(0).choice);
}

// Nobody needs it, and every stage with the first layer would hold its workspace.
TEST(CudnnChoices, TakeLittleWorkspaceForTheGradientOfAnImage) {
  SKIP_WITHOUT_CUDNN();
  const CudnnDevice device = device_of("h100");
  const ConvProblem problem =
      testing::alexnet()[0].problem(ConvKind::kBackwardInput, Precision::kFp32, 128);
  EXPECT_GT(list_plans(device, problem).at(0).workspace_bytes, 100 * kMiB);
  EXPECT_LE(choose_engine(device, problem).workspace_bytes, 16 * kMiB);
}

}  // namespace
}  // namespace stagecoach::cuda
