// Reach: how far the values that stages send travel.
#pragma once

#include <cstddef>
#include <vector>

namespace stagecoach {

// A stage hands on what a later one reads, so a buffer is in use until the last of its readers is
// done. From a network and its cuts; a list that is empty means neighbours only.
struct Reach {
  // By stage: the last stage that reads what it sends down, at least the next one.
  std::vector<int> last_reader;
  // By stage: the first stage that reads the gradients it sends up, at most the one before.
  std::vector<int> first_reader;

  int last_reader_of(int stage) const {
    return last_reader.empty() ? stage + 1 : last_reader[static_cast<std::size_t>(stage)];
  }
  int first_reader_of(int stage) const {
    return first_reader.empty() ? stage - 1 : first_reader[static_cast<std::size_t>(stage)];
  }
};

}  // namespace stagecoach
