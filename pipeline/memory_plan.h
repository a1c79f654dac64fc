// Memory plan: the place of every byte of a stage, from specs alone, before anything is allocated.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/arena.h"
#include "pipeline/gradient_buckets.h"
#include "pipeline/gradient_tree.h"
#include "pipeline/schedule/buffer_counts.h"
#include "pipeline/stage_graph.h"

namespace stagecoach {

// What to do when a plan needs more memory than there is.
inline constexpr const char* kMemoryHint = "use smaller images, or smaller or fewer micro-batches";

// What the memory of a stage depends on, beside its layers.
struct StageMemory {
  // Of each buffer, how many: see BufferCounts.
  int slots = 1, received = 1, received_gradients = 1, gradient_slots = 1, outputs = 1,
      input_gradients = 1;
  // Whether what comes from the stage before, or after, is copied here
  // (Channel::needs_receive_buffer).
  bool receives_activations = false, receives_gradients = false;
  // Whether F of some micro-batch runs a second time, and of how many layers at once: F keeps only
  // the inputs of runs of that many layers. 0: all layers of the stage at once.
  bool recomputes = false;
  int recompute_interval = 0;
  int micro_batches = 1;    // in a step: layers keep something of each until its end
  int gradient_groups = 1;  // see GradientTree
  // In so many runs of equal length are the micro-batches whose W take turns, in order within a run
  // only: those of several replicas of a neighbour. Divides the groups.
  int runs = 1;
  std::int64_t loss_rows = 0;              // samples in a step: losses kept by the last stage
  int optimizer_states = 0;                // tensors like the parameters: SGD 1, Adam 2
  std::int64_t least_workspace_bytes = 0;  // beside what the layers use
  // How many replicas the stage has, and which this is; whether each keeps the optimizer's states
  // of its share only (ZeRO-1); of the gradients, how many bytes at least are summed at a time (0:
  // all); and how many arrive from other replicas at a time.
  int replicas = 1, replica = 0;
  bool shards_optimizer = false;
  std::int64_t bucket_bytes = 0, exchange_bytes = 0;
};

// How the gradients of a run are added; the runs' sums are added like those of replicas
// (sum_replicas()). Error where the numbers do not divide.
GradientTree tree_of_run(const StageMemory& stage);

// `memory` with the counts of stage `s`.
StageMemory memory_of_stage(const BufferCounts& buffers, int s, StageMemory memory = {});

// Where a tensor lies: `region` of the arena, bytes into (one slot of) it.
struct Place {
  int region = -1;
  std::int64_t offset = 0;
  TensorSpec spec;
};
using MaybePlace = std::optional<Place>;

// The plan of one stage. Layers are counted from the stage's first one, the loss is the last one's
// last; values have the numbers of its StageGraph.
//
// A slot holds one micro-batch from F to W: values and saved tensors. Inside it, tensors that are
// never needed at the same time share bytes. A gradient slot does the same for the gradients of a
// micro-batch from B to W. What other stages read lies apart, in `outputs` and `input_gradients`:
// they say when they have read it. A layer works in place when it can, and when its first input (or
// output gradient) belongs to this stage and nobody else needs it.
//
// A segment is a run of layers whose F runs a second time at once. Without recomputation, or
// without an interval, the stage is one. With several, B and W of a segment follow its second F, so
// that a slot holds the tensors of one segment after the other; what a later segment reads is kept
// as a checkpoint.
struct MemoryPlan {
  ArenaPlan arena;
  // Regions of one slot: tensors of the optimizer's steps, flat, each like all parameters together.
  int parameters = -1, gradients = -1, workspace = -1;
  int copies = -1;         // of the parameters, in BF16, where a layer computes in it; else none
  int exchange = -1;       // see StageMemory::exchange_bytes
  int run_gradients = -1;  // like `gradients`, of each run but the first; none of one run
  std::vector<int> waiting_gradients;  // see GradientTree; as many of each as there are runs
  std::vector<int> optimizer_states;
  // Likewise, what layers keep: from step to step, and of each micro-batch until the step ends.
  int buffers = -1, step_state = -1;
  // Of a step: forms of the parameters, and of each run what becomes the gradients of its
  // micro-batches.
  int prepared = -1, weight_state = -1;
  // Regions with several; -1 where the stage has no use for it.
  int slots = -1, gradient_slots = -1;
  int outputs = -1;          // that later stages read
  int input_gradients = -1;  // that earlier stages read
  int checkpoints = -1;      // as many as `received`
  int received_activations = -1, received_gradients = -1;

  TensorSpec flat;  // of parameters and of what is like them; F32 [elements with padding]
  // What is summed over replicas at a time, and of each bucket what this stage's optimizer updates:
  // all, or its share. The optimizer's states hold those parts, one behind the other.
  std::vector<GradientBucket> buckets;
  std::vector<Elements> updated;
  std::vector<std::vector<Place>> parameter;  // [layer][parameter], same place in `gradients`
  std::vector<std::vector<Place>> copy;       // likewise, in `copies`; empty where there are none
  std::vector<std::vector<Place>> buffer;     // [layer][buffer]
  std::vector<std::vector<Place>> step_state_of;  // [layer]: [micro-batches, ...] each
  std::vector<std::vector<Place>> prepared_of, weight_state_of;  // [layer]
  std::vector<int> segments;                                     // the first layer of each

  // By value: where its maker writes it. None for what comes from outside, unless the stage hands
  // on a copy of what was copied here; and none for the loss's outputs.
  std::vector<MaybePlace> value;
  // Where a second F writes a value instead, as other stages may be reading the first one: what
  // lies in `outputs`.
  std::vector<MaybePlace> second;
  std::vector<std::vector<Place>> saved;  // [layer][saved tensor]
  // By value: the sum of its gradient's parts. None where it has no gradient, or all of it comes
  // from the next stage (but for a copy that is handed on).
  std::vector<MaybePlace> gradient;
  // [layer][input]: where B writes its part. The first part's is the sum's own place.
  std::vector<std::vector<MaybePlace>> part;
  std::vector<MaybePlace> received, received_gradient;  // by value: where messages are copied to
  MaybePlace losses, correct;  // the loss's outputs for all samples of a step; last stage

  // The layers [first, end) of a segment.
  int segment_first(int segment) const { return segments[segment]; }
  int segment_end(int segment) const {
    const std::size_t next = static_cast<std::size_t>(segment) + 1;
    return next < segments.size() ? segments[next] : static_cast<int>(parameter.size());
  }
};

MemoryPlan plan_memory(const StageGraph& graph, const StageMemory& stage);

// For people, a line per region: name, count, bytes.
std::string describe(const MemoryPlan& plan);

}  // namespace stagecoach
