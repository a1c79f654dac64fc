// Memory plan: the place of every byte of a stage, from specs alone, before anything is allocated.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "core/arena.h"
#include "layers/layer.h"
#include "pipeline/schedule/buffer_counts.h"

namespace stagecoach {

// What to do when a plan needs more memory than there is.
inline constexpr const char* kMemoryHint = "use smaller images, or smaller or fewer micro-batches";

// What the memory of a stage depends on, beside its layers.
struct StageMemory {
  // Of each buffer, how many: see BufferCounts.
  int slots = 1, received = 1, received_gradients = 1, gradient_slots = 1, outputs = 1,
      input_gradients = 1;
  bool has_previous = false, has_next = false;
  // Whether what comes from the stage before, or after, is copied here
  // (Channel::needs_receive_buffer).
  bool receives_activations = false, receives_gradients = false;
  // Whether F of some micro-batch runs a second time, and of how many layers at once: F keeps only
  // the inputs of runs of that many layers. 0: all layers of the stage at once.
  bool recomputes = false;
  int recompute_interval = 0;
  std::int64_t loss_rows = 0;  // samples in a step: losses kept by the last stage
  int optimizer_states = 0;    // tensors like the parameters: SGD 1, Adam 2
};

// The counts of stage `s`, and its neighbours.
StageMemory memory_of_stage(const BufferCounts& buffers, int s);

// Where a tensor lies: `region` of the arena, bytes into (one slot of) it.
struct Place {
  int region = -1;
  std::int64_t offset = 0;
  TensorSpec spec;
};

// The plan of one stage. Layers are counted from the stage's first one.
//
// A slot holds one micro-batch from F to W: outputs and saved tensors, and at the end of the
// network the gradient of the logits. Inside it, tensors that are never needed at the same time
// share bytes. A gradient slot does the same for the gradients of a micro-batch from B to W. A
// layer works in place when it can, and when its input (or output gradient) belongs to this stage
// and nobody needs it later.
//
// A segment is a run of layers whose F runs a second time at once. Without recomputation, or
// without an interval, the stage is one. With several, B and W of a segment follow its second F, so
// that a slot holds the tensors of one segment after the other; the inputs of all segments but the
// first, whose input is the stage's, are kept as checkpoints.
struct MemoryPlan {
  ArenaPlan arena;
  // Regions of one slot: tensors of the optimizer's steps, flat, each like all parameters together.
  int parameters = -1, gradients = -1, workspace = -1;
  int copies = -1;  // of the parameters, in BF16, where a layer computes in it; else none
  std::vector<int> optimizer_states;
  // Regions with several; -1 where the stage has no use for it.
  int slots = -1, gradient_slots = -1;
  int outputs = -1;          // that the next stage reads
  int input_gradients = -1;  // that the stage before reads
  int checkpoints = -1;      // as many as `received`
  int received_activations = -1, received_gradients = -1;

  TensorSpec flat;  // of parameters and of what is like them; F32 [elements with padding]
  std::vector<std::vector<Place>> parameter;  // [layer][parameter], same place in `gradients`
  std::vector<std::vector<Place>> copy;       // likewise, in `copies`; empty where there are none
  std::vector<int> segments;                  // the first layer of each
  std::vector<Place> output;                  // [layer]
  // [layer]: where a second F writes the output instead, as the next stage may be reading the first
  // one; undefined but for the last layer and those before it whose output it overwrites.
  std::vector<std::optional<Place>> second_output;
  std::vector<std::vector<Place>> saved;  // [layer][saved tensor]
  // Gradient of the output of a layer, in `gradient_slots`; none where the last layer gets it from
  // the next stage, or where B does not go (before the first parameter of the network).
  std::vector<std::optional<Place>> output_grad;
  std::optional<Place> input_grad;  // in input_gradients; when there is a stage before
  std::optional<Place> received_input, received_output_grad;
  std::optional<Place> logits_grad;      // in a slot; last stage
  std::optional<Place> losses, correct;  // F32 and I32 [loss_rows]; last stage
  // B runs for the layers [first_backward, layers): none below needs a gradient.
  int first_backward = 0;

  // The layers [first, end) of a segment.
  int segment_first(int segment) const { return segments[segment]; }
  int segment_end(int segment) const {
    const std::size_t next = static_cast<std::size_t>(segment) + 1;
    return next < segments.size() ? segments[next] : static_cast<int>(output.size());
  }
};

// `layers`: the plans of the stage's layers, in order, at least one.
MemoryPlan plan_memory(std::span<const LayerPlan> layers, const StageMemory& stage);

// For people, a line per region: name, count, bytes.
std::string describe(const MemoryPlan& plan);

}  // namespace stagecoach
