#include "pipeline/schedules/table.h"

#include <utility>

#include "core/error.h"

namespace stagecoach {

Schedule empty_table(std::string name, int stages, int micro_batches) {
  const std::string operation = name + " schedule";
  STAGECOACH_CHECK(stages >= 1, operation, "at least 1 stage", std::to_string(stages));
  STAGECOACH_CHECK(micro_batches >= 1, operation, "at least 1 micro-batch",
                   std::to_string(micro_batches));
  Schedule schedule;
  schedule.name = std::move(name);
  schedule.stages = stages;
  schedule.micro_batches = micro_batches;
  schedule.ranks.resize(static_cast<std::size_t>(stages));
  return schedule;
}

void append_forward(Schedule& schedule, int stage, int micro_batch) {
  schedule.ranks[stage].push_back({ActionKind::kForward, stage, micro_batch});
}

void append_backward(Schedule& schedule, int stage, int micro_batch) {
  schedule.ranks[stage].push_back({ActionKind::kBackwardInput, stage, micro_batch});
  schedule.ranks[stage].push_back({ActionKind::kBackwardWeight, stage, micro_batch});
}

}  // namespace stagecoach
