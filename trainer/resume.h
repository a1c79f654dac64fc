// What a checkpoint has of a training, and how the training goes on from it.
#pragma once

#include "data/find.h"
#include "trainer/checkpoint.h"
#include "trainer/engine.h"
#include "trainer/request.h"

namespace stagecoach {

// All that decides the bits of the steps to come beside the state. The digest of the images is of
// their content: the folder that they lie in may be another one.
Settings settings_of(const TrainRun& run, const DeviceChoice& devices, const Dataset& images);

// Bytes of the tensors of a training, in a snapshot and in files.
struct StateBytes {
  std::int64_t weights = 0, optimizer = 0;  // weights: buffers, too
  std::int64_t all() const { return weights + optimizer; }
};
StateBytes state_bytes(const TrainRun& run);
// Copies the engine's state after its last step, of several processes the part that this one
// answers for; the memory of an earlier call is used again.
void take_snapshot(const Engine& engine, Snapshot& snapshot);

// The state and the number of steps of a checkpoint, which is whole. Throws Error naming the file
// and the tensor where it does not fit; then the engine's state is undefined.
void restore(Engine& engine, const Checkpoint& checkpoint);

// Throws UsageError, naming the process and the machine, unless all processes of a run have these
// settings, the same table of actions and the same build.
void check_same(const TrainRun& run, const Settings& settings, const Processes& processes);

// Throws UsageError where a run would begin anew in a folder that has checkpoints already.
void check_begins_anew(const TrainRun& run);
// Where a run that resumes begins: the newest whole checkpoint; none where there is none at all.
// Throws Error where all are damaged, UsageError where the settings differ and that is not allowed.
// Warns of damaged ones. Of several processes the first one looks.
std::optional<Checkpoint> checkpoint_to_resume(const TrainRun& run, const Settings& settings,
                                               const Processes& processes = Processes());

}  // namespace stagecoach
