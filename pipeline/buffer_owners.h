// BufferOwners: gives the buffers of one kind, [0, count), to micro-batches.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stagecoach {

// No call but clear() takes longer for more buffers or micro-batches.
class BufferOwners {
 public:
  BufferOwners(std::string what, int count);
  // One that was in use before, where one is free: no more are ever used than at once. Error when
  // the micro-batch has one already, or none is free.
  int take(std::int64_t micro);
  // The micro-batch's; Error when it has none.
  int of(std::int64_t micro) const;
  bool has(std::int64_t micro) const;
  int give(std::int64_t micro);  // returns of()
  // Takes all back; returns those that somebody had.
  std::vector<int> clear();

 private:
  static constexpr int kNone = -1;
  std::string what_;  // "slot of layers 0 - 6"
  int count_;
  std::vector<int> free_;      // the last one is the next
  std::vector<int> index_of_;  // by micro-batch
};

}  // namespace stagecoach
