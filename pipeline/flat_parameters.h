// FlatParameters: all parameters of a stage as flat tensors, what is like them, and how an
// optimizer steps those that the stage updates: all, or of several replicas its share (see
// MemoryPlan).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/context.h"
#include "pipeline/optimizer.h"
#include "pipeline/stage_tensors.h"
#include "pipeline/state_dict.h"

namespace stagecoach {

class FlatParameters {
 public:
  // `optimizer`: names the states that the plan has; null: there are none to be named. Tensors and
  // context outlive this.
  FlatParameters(const StageTensors& tensors, std::shared_ptr<const Optimizer> optimizer,
                 Context& context)
      : tensors_(tensors), optimizer_(std::move(optimizer)), context_(context) {}

  Tensor values() const { return flat(plan().parameters); }
  Tensor gradients() const { return flat(plan().gradients); }
  // Enqueues a copy of the values in BF16, where the plan has one: of all, or of a bucket
  // (MemoryPlan::buckets).
  void refresh_copies();
  void refresh_copies(Context& context, int bucket);
  // The optimizer's states of the parameter at `place`, as far as they are here.
  void add_states(const std::string& name, const Place& place, StateDict& state) const;

  // Enqueues one step, with the values of the context's last begin_step(). `stepped`: is called
  // behind what updates a bucket here. end_update(): when all parameters are here, of which other
  // replicas may have updated a part.
  using Stepped = std::function<void(int bucket)>;
  void step(const Optimizer& optimizer, const Stepped& stepped = {});
  void end_update();
  // Of a step on a GPU, that of a bucket, on a context of its device.
  void step_bucket(Context& context, const Optimizer& optimizer, int bucket);
  // Steps that were made, on the CPU, and those of them that were ended; call it when nothing is in
  // flight.
  struct Updates {
    std::int64_t begun = 0, ended = 0;
    bool operator==(const Updates&) const = default;
  };
  const Updates& updates() const { return updates_; }

 private:
  const MemoryPlan& plan() const { return tensors_.plan(); }
  Tensor flat(int region) const { return tensors_.view(Place{region, 0, plan().flat}); }
  Tensor copies() const;

  const StageTensors& tensors_;
  const std::shared_ptr<const Optimizer> optimizer_;
  Context& context_;
  Updates updates_;  // on the stream's thread
};

}  // namespace stagecoach
