#include "pipeline/schedule/generators/table.h"

#include <utility>

#include "core/error.h"

namespace stagecoach {

Schedule empty_table(std::string name, int ranks, int micro_batches, int chunks) {
  const std::string operation = name + " schedule";
  STAGECOACH_CHECK(ranks >= 1, operation, "at least 1 stage", std::to_string(ranks));
  STAGECOACH_CHECK(micro_batches >= 1, operation, "at least 1 micro-batch",
                   std::to_string(micro_batches));
  STAGECOACH_CHECK(chunks >= 1, operation, "at least 1 chunk on each rank", std::to_string(chunks));
  Schedule schedule;
  schedule.name = std::move(name);
  schedule.stages = ranks * chunks;
  schedule.micro_batches = micro_batches;
  schedule.ranks.resize(static_cast<std::size_t>(ranks));
  return schedule;
}

}  // namespace stagecoach
