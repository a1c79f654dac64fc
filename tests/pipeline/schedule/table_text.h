// Tables written as text, and errors caught as text, for the tests of this folder.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/error.h"
#include "pipeline/schedule/schedule.h"

namespace stagecoach {

// "0F0 1RECV_F2 1STEP", the form of Action::to_string.
inline std::vector<Action> actions_of(const std::string& text) {
  std::vector<Action> actions;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const std::size_t kind_at = word.find_first_not_of("0123456789");
    const std::size_t micro_at = word.find_last_not_of("0123456789") + 1;
    const std::string name = word.substr(kind_at, micro_at - kind_at);
    int kind = 0;
    while (kind < kActionKinds && name_of(static_cast<ActionKind>(kind)) != name) ++kind;
    if (kind == kActionKinds) throw std::invalid_argument("no action: " + word);
    const std::string micro = word.substr(micro_at);
    actions.push_back({static_cast<ActionKind>(kind), std::stoi(word.substr(0, kind_at)),
                       micro.empty() ? -1 : std::stoi(micro)});
  }
  return actions;
}

inline Schedule table(int stages, int micro_batches, const std::vector<std::string>& ranks) {
  Schedule schedule;
  schedule.name = "by hand";
  schedule.stages = stages;
  schedule.micro_batches = micro_batches;
  for (const std::string& rank : ranks) schedule.ranks.push_back(actions_of(rank));
  return schedule;
}

// The message of the error that `run` throws; empty when it throws none.
template <typename Run>
std::string error_of(Run run) {
  try {
    run();
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

}  // namespace stagecoach
