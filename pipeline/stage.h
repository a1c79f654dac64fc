// Stage: a contiguous run of a network's layers, their memory, and F, B and W of one micro-batch.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/context.h"
#include "kernels/optimizers.h"
#include "layers/network.h"
#include "pipeline/memory_plan.h"
#include "pipeline/schedule/partition.h"

namespace stagecoach {

// SGD or Adam; the same for all parameters.
struct Optimizer {
  enum class Kind { kSgd, kAdam };
  Kind kind = Kind::kSgd;
  SgdOptions sgd;
  AdamOptions adam;
  int states() const { return kind == Kind::kSgd ? 1 : 2; }
};

struct StageOptions {
  int first = 0, end = 0;  // layers [first, end) of the network
  StageMemory memory;
};

// Gives the buffers of one kind, [0, count), to micro-batches.
class BufferOwners {
 public:
  BufferOwners(std::string what, int count) : what_(std::move(what)), owner_(count, kFree) {}
  // The lowest that is free. Error when the micro-batch has one already, or none is free.
  int take(std::int64_t micro);
  // The micro-batch's; Error when it has none.
  int of(std::int64_t micro) const;
  bool has(std::int64_t micro) const { return std::ranges::find(owner_, micro) != owner_.end(); }
  int give(std::int64_t micro);  // returns of()
  void clear() { std::ranges::fill(owner_, kFree); }

 private:
  static constexpr std::int64_t kFree = -1;
  std::string what_;  // "slot of layers 0 - 6"
  std::vector<std::int64_t> owner_;
};

// Every method that computes enqueues on the context's stream and returns. Stages of one rank share
// its context. A step begins with begin_step(). The order of calls for micro-batch m: forward,
// recompute() where forward kept nothing, backward_input, backward_weight; or for each segment
// (see MemoryPlan) from the last to the first: recompute_segment() but for the last, then both.
// Calls in another order, or for which no buffer is free, throw Error.
class Stage {
 public:
  // `plans`: of all layers of the network, for one micro-batch. Network and context must outlive
  // the stage. Throws Error when there is no memory for it.
  Stage(const Network& network, const std::vector<LayerPlan>& plans, const StageOptions& options,
        Context& context);
  ~Stage();
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  int first() const { return options_.first; }
  int end() const { return options_.end; }
  bool is_first() const { return options_.first == 0; }
  bool is_last() const { return options_.end == network_.size(); }
  std::int64_t parameter_count() const;
  Context& context() const { return context_; }
  const MemoryPlan& memory_plan() const { return plan_; }
  const Arena& arena() const { return arena_; }

  // Forgets the micro-batches of the step before.
  void begin_step();
  // F. `input`: the micro-batch; it must stay until W has run. `labels` (I32 [rows]; last stage):
  // gives losses and right answers in rows [micro.first_sample, + rows) of losses() and correct(),
  // and the gradient of their mean over `batch` samples. A loss that is not finite fails the stream
  // with a NumericError, or raises the context's failure flag on a GPU: no stage then updates its
  // weights. `keep` false: saves nothing for B but the input, and gives the slot back at once. When
  // not training, nothing is kept.
  void forward(const Tensor& input, const Tensor& labels, std::int64_t batch,
               const MicroBatch& micro, bool keep = true);
  // R: F of the last segment a second time, with the same result. Takes a slot.
  void recompute(const Tensor& labels, std::int64_t batch, const MicroBatch& micro);
  int segments() const { return static_cast<int>(plan_.segments.size()); }
  void recompute_segment(int segment, const MicroBatch& micro);
  // B of a segment. `output_grad`: of the stage's output, from the stage after (undefined on the
  // last); must stay until W has run. That of the first segment writes input_grad(micro).
  void backward_input(const Tensor& output_grad, const MicroBatch& micro, int segment = 0);
  // W of a segment. The first micro-batch of a step overwrites the gradients of the parameters,
  // later ones add. That of the first segment gives the slot back.
  void backward_weight(const MicroBatch& micro, int segment = 0);
  // Whether W of `count` micro-batches has run since begin_step().
  bool has_all_gradients(int count) const { return weights_ == count; }
  // One step for all parameters; `step` counts from 0.
  void optimizer_step(const Optimizer& optimizer, std::int64_t step);

  // The output that F of a micro-batch writes; the input gradient that its B writes (undefined on
  // the first stage).
  Tensor output(std::int64_t micro) const;
  Tensor input_grad(std::int64_t micro) const;
  // Whether F, or B, of a micro-batch has run in this step (of a training step; F only while B has
  // not).
  bool has_output(std::int64_t micro) const;
  bool has_input_grad(std::int64_t micro) const;
  // Where a message of a neighbour on another device is to be copied to, from its RECV on; none
  // where it is not copied. Takes the buffer, before F or B of the micro-batch.
  std::vector<Tensor> receive_input(std::int64_t micro);
  std::vector<Tensor> receive_output_grad(std::int64_t micro);
  Tensor losses() const { return view(plan_.losses, 0); }    // last stage, else undefined
  Tensor correct() const { return view(plan_.correct, 0); }  // last stage, else undefined

  // Initial weights: parameter i of the network from RandomStream{seed, kInitialWeights, layer =
  // i}.
  void initialize(std::uint64_t seed);
  // After the parameters were written from outside: makes their copies in BF16, where there are
  // any.
  void refresh_copies();
  struct Parameter {
    std::string name;  // "features.0.weight"
    Tensor value, grad;
  };
  const std::vector<Parameter>& parameters() const { return parameters_; }

  // Runs F layer by layer and returns the index (in the network) of the first layer whose output
  // has an element that is not finite, or -1. Blocks. For a step of its own.
  int first_nonfinite_layer(const Tensor& input, const MicroBatch& micro);

 private:
  const LayerPlan& layer_plan(int i) const { return layer_plans_[static_cast<std::size_t>(i)]; }
  const Layer& layer(int i) const { return *network_[options_.first + i].layer; }
  int size() const { return options_.end - options_.first; }
  Tensor view(const Place& place, std::int64_t micro) const;
  Tensor view(const std::optional<Place>& place, std::int64_t micro) const;
  Tensor input_of(int layer, std::int64_t micro) const;
  Tensor output_grad_of(int layer, std::int64_t micro) const;
  Tensor input_grad_of(int layer, std::int64_t micro) const;
  std::vector<Tensor> saved_of(int layer, std::int64_t micro) const;
  void use_workspace() const;
  Tensor flat_copies() const;
  void copy_unless_same(const Tensor& to, const Tensor& from);
  int index_of(int region, std::int64_t micro) const;
  void take(int region, BufferOwners& owners, std::int64_t micro);
  void give(int region, BufferOwners& owners, std::int64_t micro);
  // F of the layers of a segment; `second`: another time.
  void forward_segment(int segment, const MicroBatch& micro, bool second);
  void forward_layer(int layer, const MicroBatch& micro, bool second = false);
  Tensor output_of(int layer, std::int64_t micro, bool second = false) const;
  void backward_layer(int layer, const MicroBatch& micro);
  void compute_loss(const Tensor& labels, std::int64_t batch, const MicroBatch& micro);

  const Network& network_;
  StageOptions options_;
  std::vector<LayerPlan> layer_plans_;
  MemoryPlan plan_;
  Arena arena_;
  std::vector<Parameter> parameters_;
  std::vector<int> parameter_index_;  // in the network
  // [layer][parameter]
  std::vector<std::vector<Tensor>> values_, grads_;  // values_: what the layers compute with
  BufferOwners slots_, received_, received_gradients_, gradient_slots_;
  std::vector<Tensor> inputs_;        // by owner in received_
  std::vector<Tensor> output_grads_;  // by owner in gradient_slots_
  // Of this step, by micro-batch.
  enum class Progress : std::uint8_t { kNone, kForward, kBackward, kWeight };
  std::vector<Progress> progress_;
  int weights_ = 0;  // W that have run in this step
  Context& context_;
};

// Whether no element is infinity or NaN; true for other types than F32 and BF16. The tensor is in
// the CPU's memory; reads on the caller's thread.
bool all_finite(const Tensor& tensor);
// Of a tensor anywhere, after all that was enqueued on `stream`. Blocks.
bool all_finite(Stream& stream, const Tensor& tensor);

// Throws the NumericError of the first loss that is not finite; `losses` (F32, the CPU's) are those
// of micro-batch `micro`.
void check_finite_losses(const Tensor& losses, const MicroBatch& micro);

}  // namespace stagecoach
