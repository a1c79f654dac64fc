// What a step is given, and what it gives.
#pragma once

#include <cstdint>
#include <optional>

#include "pipeline/stage.h"

namespace stagecoach {

// What all stages compute in one step.
struct StepInput {
  Tensor images;   // [M * B, ...]: the first stage takes the micro-batches from it
  Tensor targets;  // [M * B, ...]: what the loss compares with, I32 [M * B] where it has classes
  // In the first rows; the others fill the batch up; -1: all rows. Of all replicas.
  std::int64_t samples = -1;
  std::int64_t first_sample = 0;  // of the first row, in the batch of all replicas
  // On a GPU, when images and targets are there; unset: they are.
  std::optional<Event> ready;
  MicroBatch micro;  // seed, step and training; the rest is set for each micro-batch
  // Of a training step; null: none, gradients stay where they are.
  const Optimizer* optimizer = nullptr;
};

// Whether all rows are samples.
bool is_full(const StepInput& input);

// What a step gives of its samples, in the CPU's memory.
struct StepResult {
  Tensor losses;   // F32 [M * B]
  Tensor correct;  // I32 [M * B]: 1 for a right answer; undefined where the loss knows none
};

// What replica `replica` of so many computes: its rows, one behind another's.
StepInput input_of_replica(StepInput input, int replica, int replicas);

// Micro-batch `index` of a step with `rows` samples in each.
MicroBatch micro_batch_of(const StepInput& input, std::int64_t index, std::int64_t rows);
// What begin_step() is told on every context before the step.
StepValues values_of(const StepInput& input);

}  // namespace stagecoach
