// Stage: a contiguous run of a network's layers, their memory, and F, B and W of one micro-batch.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/context.h"
#include "layers/network.h"
#include "pipeline/flat_parameters.h"
#include "pipeline/gradient_tree.h"

namespace stagecoach {

struct StageOptions {
  int first = 0, end = 0;  // layers [first, end) of the network
  StageMemory memory;
  std::shared_ptr<const Optimizer> optimizer;  // names the states that `memory` has; may be null
};

// What a stage says of itself.
struct StageSummary {
  int first = 0, end = 0;  // layers
  std::int64_t parameters = 0;
  std::int64_t planned_bytes = 0, peak_bytes = 0;  // of its arena
  std::int64_t multiply_adds = 0;  // of F, B and W of a step (LayerPlan::multiply_adds)
  std::int64_t message_bytes = 0;  // of a message to the next stage
};

// Every method that computes enqueues on the context's stream and returns. Stages of one rank share
// its context. A step begins with begin_step(). The order of calls for micro-batch m: forward,
// recompute() where forward kept nothing, backward_input, backward_weight; or for each segment
// (see MemoryPlan) from the last to the first: recompute_segment() but for the last, then both.
// After all of them, end_step(). Calls in another order, or for which no buffer is free, throw
// Error.
//
// A message is a list of tensors: `received` and `sent` of the stage's graph, and their gradients.
// What a stage only hands on keeps its memory, unless it was copied here.
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
  StageSummary summary() const;
  Context& context() const { return context_; }
  const StageGraph& graph() const { return tensors_.graph(); }
  const MemoryPlan& memory_plan() const { return tensors_.plan(); }
  const Arena& arena() const { return tensors_.arena(); }

  // Forgets the micro-batches of the step before, also of one that broke off.
  void begin_step();
  // F. `inputs`: the message of the stage before, on the first stage the network's input; what this
  // stage only hands on may be undefined. `targets` (on the last stage): what the loss compares
  // with. Both must stay until W has run. The loss leaves its outputs in rows [micro.first_sample,
  // + rows) of losses() and correct(). In training, one that is not finite raises the context's
  // failure flag: no stage then updates its weights. `keep` false: saves nothing for B but the
  // inputs, and gives the slot back at once. When not training, nothing is kept.
  void forward(std::span<const Tensor> inputs, const Tensor& targets, const MicroBatch& micro,
               bool keep = true);
  // R: F of the last segment a second time, with the same result. Takes a slot.
  void recompute(const MicroBatch& micro);
  int segments() const { return static_cast<int>(memory_plan().segments.size()); }
  void recompute_segment(int segment, const MicroBatch& micro);
  // B of a segment. `output_grads`: the message of the stage after (empty on the last); must stay
  // until W has run. That of the first segment completes input_grads(micro).
  void backward_input(std::span<const Tensor> output_grads, const MicroBatch& micro,
                      int segment = 0);
  // W of a segment. The first micro-batch of a group (see GradientTree) overwrites the gradients of
  // the parameters, later ones add, in order within a run (StageMemory::runs); they are complete
  // after the last of StageMemory::micro_batches. That of the first segment gives the slot back.
  // `completed`: is called behind the last W of a step for a bucket of the memory plan, when its
  // gradients are complete.
  using Completed = std::function<void(int bucket)>;
  void backward_weight(const MicroBatch& micro, int segment = 0, const Completed& completed = {});
  // What layers do once in a training step, after W of all its micro-batches and before the
  // gradients are used. A second call in a step does nothing.
  void end_step(const MicroBatch& micro);
  // See StageMemory::exchange_bytes; undefined where there is none.
  Tensor exchange_memory() const;
  // Whether W of all micro-batches has run since begin_step().
  bool has_all_gradients() const { return weights_ == options_.memory.micro_batches; }
  // The sum of squares of the gradient of the network's parameter i goes to sums[i]; see
  // clip_gradients().
  void sum_squares_of_gradients(double* sums);
  void clip_gradients(std::span<const double> sums, double max_norm, double* norms);
  // All parameters, their gradients, and the optimizer's steps.
  FlatParameters& flat() { return flat_; }
  const FlatParameters& flat() const { return flat_; }
  bool updates_share() const { return options_.memory.shards_optimizer; }

  // The message that F of a micro-batch makes for the next stage, and that its B makes for the
  // stage before; empty where there is none.
  const std::vector<Tensor>& outputs(std::int64_t micro) const { return tensors_.outputs(micro); }
  const std::vector<Tensor>& input_grads(std::int64_t micro) const {
    return tensors_.input_grads(micro);
  }
  // Whether F, or B, of a micro-batch has run in this step (of a training step; F only while B has
  // not).
  bool has_output(std::int64_t micro) const;
  bool has_input_grad(std::int64_t micro) const;
  // Where a message of a neighbour on another device is to be copied to; empty where none is.
  // Takes the buffer, before F or B of the micro-batch.
  std::vector<Tensor> receive_inputs(std::int64_t micro) { return tensors_.receive_inputs(micro); }
  std::vector<Tensor> receive_output_grads(std::int64_t micro) {
    return tensors_.receive_output_grads(micro);
  }
  // Of all samples of a step; undefined but on the last stage.
  Tensor losses() const { return tensors_.view(memory_plan().losses); }
  // Likewise; undefined where the loss knows no right answers, too.
  Tensor correct() const { return tensors_.view(memory_plan().correct); }

  // Initial weights: parameter i of the network from RandomStream{seed, kInitialWeights, layer =
  // i}.
  void initialize(std::uint64_t seed, InitScheme scheme = InitScheme::kTorch);
  // Parameters and the optimizer's states, in the network's order; then layers' buffers.
  const StateDict& state() const { return state_; }
  // StateDict::set(), and where it is a parameter's also its copy in BF16.
  void set_state(const std::string& name, const Tensor& value);
  struct Parameter {
    std::string name;  // "features.0.weight"
    Tensor value, grad;
  };
  const std::vector<Parameter>& parameters() const { return parameters_; }

  // Runs F layer by layer, without the loss, and returns the index (in the network) of the first
  // layer with an output that has an element that is not finite, or -1. Blocks. For a step of its
  // own; outputs() is the message for the next stage.
  int first_nonfinite_layer(std::span<const Tensor> inputs, const MicroBatch& micro);

 private:
  // The tensors of one call of a layer. Used again, so that most calls allocate nothing.
  struct CallTensors {
    std::vector<Tensor> inputs, outputs, input_grads, output_grads, saved, step_state;
  };

  const LayerPlan& layer_plan(int i) const { return graph().layers[static_cast<std::size_t>(i)]; }
  const Layer& layer(int i) const { return network_.layer(options_.first + i); }
  int size() const { return graph().size(); }
  void use_workspace() const;
  // Once in a step, when the first F comes.
  void prepare_once(const MicroBatch& micro);
  // `number`: of a region with several.
  std::vector<std::vector<Tensor>> views_of(const std::vector<std::vector<Place>>& places,
                                            int number = 0) const;
  // The end of a bucket's W of a micro-batch.
  struct Run;
  void end_bucket(int bucket, const Run& run, const Completed& completed);
  void copy_unless_same(const Tensor& to, const Tensor& from);
  void hand_on_copies(std::int64_t micro);
  void hand_on_gradient_copies(std::int64_t micro);
  // F of the layers of a segment; `second`: another time.
  void forward_segment(int segment, const MicroBatch& micro, bool second);
  // `second_from`: the first layer that has run, or runs, a second time; size(): none does.
  void forward_layer(int layer, const MicroBatch& micro, int second_from);
  void backward_layer(int layer, const MicroBatch& micro);
  void add_parts(int layer, std::int64_t micro);
  void weight_layer(int layer, const MicroBatch& micro);
  Tensor result_of(int output, const MicroBatch& micro) const;
  // With what all passes get; the rest is in call_ after the others.
  LayerCall call_of(int layer, const MicroBatch& micro);
  void fill_inputs(int layer, const MicroBatch& micro, int second_from);
  void fill_outputs(int layer, const MicroBatch& micro, int second_from);
  void fill_output_grads(int layer, std::int64_t micro);
  void fill_step_state(int layer, std::int64_t micro);
  Run make_run(int number) const;
  Run& run_of(std::int64_t micro) { return runs_[micro / run_size() % std::ssize(runs_)]; }
  int run_size() const { return options_.memory.micro_batches / options_.memory.runs; }

  const Network& network_;
  StageOptions options_;
  StageTensors tensors_;
  std::vector<Parameter> parameters_;
  std::vector<int> parameter_index_;  // in the network
  FlatParameters flat_;
  StateDict state_;
  GradientTree tree_;  // of a run
  struct Run {
    // [layer][parameter]: where W writes that of a group, or of one whose sum waits; [layer][of the
    // plan's list].
    std::vector<std::vector<Tensor>> grads, waiting, weight_state;
    Tensor flat;                       // all gradients
    std::vector<Tensor> flat_waiting;  // of each level of the tree
    int weights = 0;                   // W that have run in this step
  };
  std::vector<Run> runs_;
  std::vector<std::vector<Tensor>> values_;  // [layer][parameter]: what the layers compute with
  std::vector<std::vector<Tensor>> buffers_, prepared_;  // [layer][of the plan's list]
  CallTensors call_;
  // Of this step, by micro-batch.
  enum class Progress : std::uint8_t { kNone, kForward, kBackward, kWeight };
  std::vector<Progress> progress_;
  int weights_ = 0;  // W that have run in this step
  bool prepared_once_ = false, ended_ = false;
  Context& context_;
};

}  // namespace stagecoach
