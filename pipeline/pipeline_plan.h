// PipelinePlan: what the ranks of a pipeline run and hold, before there is any of them.
#pragma once

#include <cstdint>
#include <vector>

#include "pipeline/schedule/program.h"
#include "pipeline/stage.h"
#include "pipeline/training_loop.h"

namespace stagecoach {

struct PipelinePlan {
  // `plans`: of all layers, for one micro-batch. Throws Error where the schedule does not pass
  // check(), or does not fit the partition.
  PipelinePlan(const Network& network, const std::vector<LayerPlan>& plans,
               const PipelineOptions& options);

  Program training, evaluation;  // with communication and optimizer steps
  int most_replicas;             // of a stage: those of the options, of each of the table's
  // Per stage: whether what it and the one before send each other is copied: from device to device,
  // or from process to process.
  std::vector<bool> copied;
  std::vector<StageGraph> graphs;  // per stage
  std::vector<StageOptions> stages;

 private:
  PipelinePlan(const PipelineOptions& options, std::vector<StageGraph> of_stages);
};

// What the plan of each stage takes. Throws Error like a PipelinePlan.
std::vector<std::int64_t> planned_bytes(const Network& network, const std::vector<LayerPlan>& plans,
                                        const PipelineOptions& options);

}  // namespace stagecoach
