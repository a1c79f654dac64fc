#include "kernels/cuda/conv2d_library.h"

#include <map>
#include <memory>
#include <mutex>

#include "core/cuda/runtime.h"
#include "core/device_backend.h"
#include "core/error.h"
#include "kernels/cuda/conv2d_choices.h"
#include "kernels/cuda/conv2d_execute.h"
#include "kernels/cuda/conv2d_tune.h"

namespace stagecoach::cuda {
namespace {

class CudnnHandle {
 public:
  explicit CudnnHandle(Device gpu) {
    use(gpu);  // the handle is bound to the current device
    STAGECOACH_CUDNN_CHECK(cudnn().create(&handle_));
  }
  ~CudnnHandle() { cudnn().destroy(handle_); }
  CudnnHandle(const CudnnHandle&) = delete;
  CudnnHandle& operator=(const CudnnHandle&) = delete;
  cudnnHandle_t get() const { return handle_; }

 private:
  cudnnHandle_t handle_ = nullptr;
};

// Where choices for one GPU are made: a handle that no context uses.
struct Planner {
  explicit Planner(Device gpu) : handle(gpu), device(described(handle.get(), gpu)) {}

  static CudnnDevice described(cudnnHandle_t handle, Device gpu) {
    const DeviceInfo info = device_backend(gpu).device_info(gpu);
    return CudnnDevice(handle, info.name, info.multiprocessors);
  }

  std::mutex mutex;  // a handle is for one thread at a time
  CudnnHandle handle;
  CudnnDevice device;
};

Planner& planner_of(Device gpu) {
  static std::mutex mutex;
  // Never destroyed: at the end of the process the driver is gone before.
  static auto& planners = *new std::map<int, std::unique_ptr<Planner>>();
  std::lock_guard lock(mutex);
  std::unique_ptr<Planner>& planner = planners[gpu.index];
  if (!planner) planner = std::make_unique<Planner>(gpu);
  return *planner;
}

const ChosenEngine& chosen_for(const ConvProblem& problem, const Target& target) {
  Planner& planner = planner_of(target.device);
  std::lock_guard lock(planner.mutex);
  use(target.device);
  if (target.tune) return choose_fastest_engine(planner.device, target.device, problem);
  return choose_engine(planner.device, problem);
}

// A context's own handle, on its stream, and the plans made with it.
class CudnnSession {
 public:
  explicit CudnnSession(Context& context)
      : target_(context.target()), handle_(context.device()), device_(handle_.get(), "", 0) {
    STAGECOACH_CUDNN_CHECK(cudnn().set_stream(handle_.get(), native_stream(context)));
  }

  void run(const ConvProblem& problem, const ConvOperands& operands) {
    use(target_.device);
    execute_plan(handle_.get(), plan(problem), problem, operands);
  }

 private:
  const ConvPlan& plan(const ConvProblem& problem) {
    const auto found = plans_.find(problem);
    if (found != plans_.end()) return found->second;
    const ChosenEngine& chosen = chosen_for(problem, target_);
    std::optional<ConvPlan> made =
        rebuild_plan(device_, problem, chosen.choice, limits_for(problem));
    STAGECOACH_CHECK(made.has_value() && made->workspace_bytes <= chosen.workspace_bytes, "conv2d",
                     fmt::format("engine {} of cuDNN again, with {} B of workspace, for {}",
                                 chosen.choice.engine, chosen.workspace_bytes, problem.key()),
                     made ? made->to_string() : "none");
    return plans_.emplace(problem, std::move(*made)).first->second;
  }

  Target target_;
  CudnnHandle handle_;
  CudnnDevice device_;
  std::map<ConvProblem, ConvPlan> plans_;
};

}  // namespace

std::int64_t library_workspace_bytes(const ConvProblem& problem, const Target& target) {
  return chosen_for(problem, target).workspace_bytes;
}

void open_convolutions(Context& context) {
  context.extension<CudnnSession>();
}

void run_convolution(Context& context, const ConvProblem& problem, const ConvOperands& operands) {
  context.extension<CudnnSession>().run(problem, operands);
}

}  // namespace stagecoach::cuda
