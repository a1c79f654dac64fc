#include "trainer/request_sizes.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "core/error.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/placement.h"
#include "pipeline/schedule/schedule_file.h"
#include "trainer/request_checks.h"

namespace stagecoach {
namespace {

bool names_a_schedule(const std::string& word) {
  const std::vector<std::string> names = schedule_names();
  return std::ranges::find(names, word) != names.end();
}

// Given sizes that differ from the file's are a UsageError.
RequestSizes sizes_of_file(const TrainRequest& request) {
  RequestSizes sizes;
  Schedule table = read_schedule(request.schedule, &sizes.notes);
  check(table);
  const auto of_file = [&](const char* option, std::optional<int> given, int value) {
    if (given && *given != value) {
      throw UsageError(kTrain, fmt::format("{} {}, as in {}", option, value, request.schedule),
                       fmt::format("{}", *given), "leave it out: the table says it");
    }
    return value;
  };
  sizes.groups = Placement(table).groups();
  // K where each stage is on one rank; where any is on several, a rank has one.
  const auto ranks = static_cast<int>(sizes.groups > 1 ? table.stages : table.ranks.size());
  sizes.stages = of_file("--stages", request.stages, ranks);
  sizes.micro_batches = of_file("--micro-batches", request.micro_batches, table.micro_batches);
  if (!is_training(table)) {
    throw UsageError(kTrain, "a table with backwards", fmt::format("{}, F only", request.schedule));
  }
  if (table.stages % ranks != 0) {
    throw UsageError(
        kTrain, "a table with as many stages on each rank",
        fmt::format("{} with {} stages on {} ranks", request.schedule, table.stages, ranks));
  }
  sizes.chunks = of_file("--chunks", request.chunks, table.stages / ranks);
  sizes.table = std::move(table);
  return sizes;
}

// Of a table made for stages that have replicas of their own.
RequestSizes sizes_of_replicas(const TrainRequest& request) {
  const std::vector<int>& replicas = request.stage_replicas;
  const auto stages = static_cast<int>(replicas.size());
  const std::string given = fmt::format("--replicas {}", fmt::join(replicas, ","));
  if (names_a_file(request.schedule)) {
    throw UsageError(kTrain, fmt::format("one number for --replicas with {}", request.schedule),
                     given, "the table says which ranks have a stage");
  }
  if (request.stages.value_or(stages) != stages) {
    throw UsageError(kTrain, fmt::format("as many numbers as --stages {}", *request.stages), given);
  }
  if (request.chunks.value_or(1) != 1) {
    throw UsageError(kTrain, "--replicas of each stage, or --chunks", "both",
                     "stages with replicas of their own are alone on a rank");
  }
  const int most = *std::ranges::max_element(replicas);
  check_range("--replicas", most, 1, kMany);
  const int micro_batches = request.micro_batches.value_or(kDefaultMicroBatches);
  check_range("--micro-batches", micro_batches, 1, kMany / most);
  RequestSizes sizes;
  sizes.stages = stages;
  sizes.micro_batches = micro_batches * most;
  sizes.groups = most;
  sizes.table = make_replicated_schedule(request.schedule, replicas, micro_batches);
  return sizes;
}

}  // namespace

bool names_a_file(const std::string& schedule) {
  if (names_a_schedule(schedule)) return false;
  std::error_code ignored;
  return schedule.find_first_of("./") != std::string::npos ||
         std::filesystem::exists(schedule, ignored);
}

RequestSizes sizes_of(const TrainRequest& request) {
  if (!request.stage_replicas.empty()) return sizes_of_replicas(request);
  if (names_a_file(request.schedule)) return sizes_of_file(request);
  RequestSizes sizes;
  sizes.stages = request.stages.value_or(kDefaultStages);
  sizes.micro_batches = request.micro_batches.value_or(kDefaultMicroBatches);
  const bool own = sizes.stages != 0 && names_a_schedule(request.schedule);
  sizes.chunks = request.chunks.value_or(own ? default_chunks(request.schedule) : 1);
  return sizes;
}

}  // namespace stagecoach
