#include "kernels/cuda/conv2d_plans.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace stagecoach::cuda {

namespace {

std::string kind_of(const std::string& name, int multiprocessors) {
  return fmt::format("{}, {} SMs", name, multiprocessors);
}

}  // namespace

CudnnDevice::CudnnDevice(cudnnHandle_t handle, const std::string& name, int multiprocessors)
    : handle_(handle), kind_(kind_of(name, multiprocessors)) {}

CudnnDevice::CudnnDevice(const std::string& profile) {
  try {
    const nlohmann::json json = nlohmann::json::parse(profile);
    kind_ = kind_of(json.at("deviceName").get<std::string>(),
                    json.at("multiProcessorCount").get<int>());
  } catch (const nlohmann::json::exception& error) {
    throw Error("cuDNN", "device properties as JSON with deviceName and multiProcessorCount",
                error.what());
  }
  properties_.emplace(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  // The count includes the zero at the end.
  properties_->set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, profile.c_str(),
                   static_cast<std::int64_t>(profile.size() + 1));
  properties_->finalize();
}

void CudnnDevice::describe_to(CudnnDescriptor& descriptor, cudnnBackendAttributeName_t name) const {
  if (properties_) descriptor.set(name, *properties_);
}

std::string ConvPlan::to_string() const {
  return fmt::format("engine {}{}{}, workspace {} B", choice.engine,
                     tensor_cores ? ", tensor cores" : "",
                     deterministic ? "" : ", sums in no fixed order", workspace_bytes);
}

namespace {

// cuDNN's configurations of engines for a graph, the fastest expected first; none where it knows no
// engine.
std::vector<CudnnDescriptor> configurations(const CudnnDevice& device, const CudnnDescriptor& graph,
                                            cudnnBackendHeurMode_t mode) {
  CudnnDescriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, &mode);
  device.describe_to(heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP);
  if (!heuristics.try_finalize()) return {};
  return heuristics.get_descriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                    CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
}

// None where cuDNN does not support the configuration.
std::optional<CudnnDescriptor> finalized_plan(const CudnnDevice& device,
                                              const CudnnDescriptor& config) {
  CudnnDescriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
  device.describe_to(plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP);
  if (cudnnHandle_t handle = device.handle()) {
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, &handle);
  }
  if (!plan.try_finalize()) return std::nullopt;
  return plan;
}

// Why configurations were left out, for the error when none remains.
struct Refusals {
  int configurations = 0, unsupported = 0, compiled = 0, any_order = 0, imprecise = 0,
      workspace = 0;
  std::int64_t least_workspace = 0;  // of those left out for it

  std::string to_string() const {
    if (configurations == 0) return "no engine at all";
    std::string text = fmt::format(
        "{} configurations: {} that do not support it, {} compiled at "
        "run time, {} with sums in no fixed order, {} less precise",
        configurations, unsupported, compiled, any_order, imprecise);
    if (workspace > 0) {
      text +=
          fmt::format(", {} with too much workspace (at least {} B)", workspace, least_workspace);
    }
    return text;
  }
};

template <typename Note>
bool has(const std::vector<Note>& notes, Note note) {
  return std::find(notes.begin(), notes.end(), note) != notes.end();
}

bool is_imprecise(const std::vector<cudnnBackendNumericalNote_t>& notes, Precision precision) {
  if (has(notes, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)) return true;
  // On fp32 tensors the tensor cores work with TF32.
  return precision == Precision::kFp32 && (has(notes, CUDNN_NUMERICAL_NOTE_TENSOR_CORE) ||
                                           has(notes, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS));
}

EngineChoice choice_of(const CudnnDescriptor& config, const CudnnDescriptor& engine) {
  EngineChoice choice;
  choice.engine = engine.get_int64(CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
  for (const CudnnDescriptor& knob : config.get_descriptors(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                                            CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR)) {
    const auto type = knob.get_all<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE,
                                                           CUDNN_TYPE_KNOB_TYPE);
    choice.knobs.emplace_back(type.at(0), knob.get_int64(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE));
  }
  return choice;
}

// The plan of one configuration; none, with the reason counted, when it is to be left out.
std::optional<ConvPlan> make_plan(const CudnnDevice& device, const ConvProblem& problem,
                                  const CudnnDescriptor& config, const PlanLimits& limits,
                                  Refusals& refusals) {
  ++refusals.configurations;
  const std::vector<CudnnDescriptor> engines =
      config.get_descriptors(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  const CudnnDescriptor& engine = engines.at(0);
  const auto notes = engine.get_all<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                                                 CUDNN_TYPE_NUMERICAL_NOTE);
  const auto behavior = engine.get_all<cudnnBackendBehaviorNote_t>(CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE,
                                                                   CUDNN_TYPE_BEHAVIOR_NOTE);
  const bool deterministic = !has(notes, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
  int* refused = nullptr;
  if (has(behavior, CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION)) refused = &refusals.compiled;
  if (problem.deterministic && !deterministic) refused = &refusals.any_order;
  if (is_imprecise(notes, problem.precision)) refused = &refusals.imprecise;
  std::optional<CudnnDescriptor> plan;
  if (refused == nullptr) {
    plan = finalized_plan(device, config);
    if (!plan) refused = &refusals.unsupported;
  }
  if (refused != nullptr) {
    ++*refused;
    return std::nullopt;
  }
  const std::int64_t workspace = plan->get_int64(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
  if (workspace > limits.workspace_bytes) {
    const bool first = refusals.workspace++ == 0;
    refusals.least_workspace = first ? workspace : std::min(refusals.least_workspace, workspace);
    return std::nullopt;
  }
  return ConvPlan{choice_of(config, engine), workspace,
                  has(notes, CUDNN_NUMERICAL_NOTE_TENSOR_CORE), deterministic, std::move(*plan)};
}

}  // namespace

std::vector<ConvPlan> list_plans(const CudnnDevice& device, const ConvProblem& problem,
                                 const PlanLimits& limits) {
  const CudnnDescriptor graph = convolution_graph(problem, device.handle());
  std::vector<ConvPlan> plans;
  Refusals refusals;
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (const CudnnDescriptor& config : configurations(device, graph, mode)) {
      if (plans.size() == limits.plans) return plans;
      std::optional<ConvPlan> plan = make_plan(device, problem, config, limits, refusals);
      if (plan) plans.push_back(std::move(*plan));
    }
  }
  STAGECOACH_CHECK(!plans.empty(), "conv2d",
                   fmt::format("an engine of cuDNN {} on {} for {}", cudnn_version_text(),
                               device.kind(), problem.key()),
                   refusals.to_string(),
                   problem.precision == Precision::kBf16
                       ? "bf16 needs a GPU of compute capability 8.0 or newer; use --precision fp32"
                       : "use a smaller micro-batch");
  return plans;
}

std::optional<ConvPlan> rebuild_plan(const CudnnDevice& device, const ConvProblem& problem,
                                     const EngineChoice& choice, const PlanLimits& limits) {
  const CudnnDescriptor graph = convolution_graph(problem, device.handle());
  CudnnDescriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  engine.set(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph);
  engine.set(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, choice.engine);
  device.describe_to(engine, CUDNN_ATTR_ENGINE_DEVICEPROP);
  if (!engine.try_finalize()) return std::nullopt;
  std::vector<CudnnDescriptor> knobs;
  for (const auto& [type, value] : choice.knobs) {
    const auto knob_type = static_cast<cudnnBackendKnobType_t>(type);
    CudnnDescriptor& knob = knobs.emplace_back(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    knob.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, &knob_type);
    knob.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, value);
    if (!knob.try_finalize()) return std::nullopt;
  }
  CudnnDescriptor config(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  config.set(CUDNN_ATTR_ENGINECFG_ENGINE, engine);
  if (!knobs.empty()) config.set(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, knobs);
  if (!config.try_finalize()) return std::nullopt;
  Refusals ignored;
  return make_plan(device, problem, config, limits, ignored);
}

}  // namespace stagecoach::cuda
