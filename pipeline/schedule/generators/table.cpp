#include "pipeline/schedule/generators/table.h"

#include <limits>
#include <utility>

#include "core/error.h"

namespace stagecoach {

Schedule empty_table(Generator generator, std::string name, int ranks, int micro_batches,
                     int chunks) {
  const std::string operation = name + " schedule";
  STAGECOACH_CHECK(ranks >= 1, operation, "at least 1 stage", std::to_string(ranks));
  STAGECOACH_CHECK(micro_batches >= 1, operation, "at least 1 micro-batch",
                   std::to_string(micro_batches));
  STAGECOACH_CHECK(chunks >= 1, operation, "at least 1 chunk on each rank", std::to_string(chunks));
  const std::int64_t stages = std::int64_t{ranks} * chunks;
  constexpr std::int64_t kMost = std::numeric_limits<int>::max();
  if (stages > kMost / micro_batches) {
    throw UsageError(operation, fmt::format("at most {} stages times micro-batches", kMost),
                     fmt::format("{} ranks x {} x {}", ranks, chunks, micro_batches));
  }
  Schedule schedule;
  schedule.name = std::move(name);
  schedule.stages = static_cast<int>(stages);
  schedule.generator = generator;
  schedule.micro_batches = micro_batches;
  schedule.ranks.resize(static_cast<std::size_t>(ranks));
  return schedule;
}

}  // namespace stagecoach
