#include "pipeline/buffer_owners.h"

#include <utility>

#include "core/error.h"

namespace stagecoach {

BufferOwners::BufferOwners(std::string what, int count) : what_(std::move(what)), count_(count) {
  clear();
}

std::vector<int> BufferOwners::clear() {
  std::vector<int> taken;
  for (const int index : index_of_) {
    if (index != kNone) taken.push_back(index);
  }
  index_of_.clear();
  free_.clear();
  for (int index = count_ - 1; index >= 0; --index) free_.push_back(index);
  return taken;
}

bool BufferOwners::has(std::int64_t micro) const {
  const auto m = static_cast<std::size_t>(micro);
  return m < index_of_.size() && index_of_[m] != kNone;
}

int BufferOwners::take(std::int64_t micro) {
  STAGECOACH_CHECK(!has(micro), "a step", fmt::format("one {} for micro-batch {}", what_, micro),
                   "two");
  STAGECOACH_CHECK(!free_.empty(), "a step",
                   fmt::format("a free {} for micro-batch {}", what_, micro),
                   fmt::format("all {} in use", count_));
  const auto m = static_cast<std::size_t>(micro);
  if (index_of_.size() <= m) index_of_.resize(m + 1, kNone);
  index_of_[m] = free_.back();
  free_.pop_back();
  return index_of_[m];
}

int BufferOwners::of(std::int64_t micro) const {
  STAGECOACH_CHECK(has(micro), "a step", fmt::format("a {} that micro-batch {} has", what_, micro),
                   "none");
  return index_of_[static_cast<std::size_t>(micro)];
}

int BufferOwners::give(std::int64_t micro) {
  const int index = of(micro);
  index_of_[static_cast<std::size_t>(micro)] = kNone;
  free_.push_back(index);
  return index;
}

}  // namespace stagecoach
