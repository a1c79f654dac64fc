// The costs that `stagecoach simulate` is given.
#pragma once

#include <string>
#include <vector>

#include "pipeline/schedule/simulate.h"

namespace stagecoach {

// What --costs says.
struct GivenCosts {
  std::string text;  // as it was given
  StageCosts all;    // of every stage, where `stages` is empty
  std::vector<StageCosts> stages;
  double latency = 0, bandwidth = 0;
  double group = 0;           // see SimulationCosts::weight_group
  bool bytes = false;         // whether slots have their bytes
  bool milliseconds = false;  // of a report; otherwise times have no unit
  int micro_batches = 0;      // of a report; otherwise 0

  // Of a table with so many stages; those of `all` divided by `share`. Throws UsageError when there
  // are costs of another number of stages.
  SimulationCosts of_stages(int count, double share = 1) const;
};
// Keys and numbers ("f=1,b=2") or a file of JSON: an object with the same keys, those of a stage
// also as arrays; an array of objects, one for each stage, by itself or under "stages"; or a report
// of `train`. Throws UsageError naming key and value, Error naming also the file.
GivenCosts read_costs(const std::string& text);

}  // namespace stagecoach
