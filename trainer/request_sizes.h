// The sizes of a request's table: K, M, V, and the replicas that are in it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pipeline/schedule/schedule.h"
#include "trainer/request.h"

namespace stagecoach {

// K, M and V: as given, or as the schedule's file says.
struct RequestSizes {
  int stages = kDefaultStages;
  int micro_batches = kDefaultMicroBatches;
  int chunks = 1;
  int groups = 1;                  // of the table: see Placement
  std::optional<Schedule> table;   // of the file, or of stages with replicas of their own
  std::vector<std::string> notes;  // about it

  std::int64_t pieces() const {
    return static_cast<std::int64_t>(stages == 0 ? 1 : stages) * chunks;
  }
};

// Whether --schedule names a file: it is no name of a schedule, and exists or looks like a path.
bool names_a_file(const std::string& schedule);

// UsageError for sizes that the file, or the replicas of the stages, contradict.
RequestSizes sizes_of(const TrainRequest& request);

}  // namespace stagecoach
