// FirstAndLast: means of the first and of the last values of a long series, in the memory of those.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <numeric>

namespace stagecoach {

class FirstAndLast {
 public:
  // Of `count` values at each end, at least 1.
  explicit FirstAndLast(std::size_t count) : count_(std::max<std::size_t>(1, count)) {}

  void add(double value) {
    if (seen_++ < count_) first_ += value;
    last_.push_back(value);
    if (last_.size() > count_) last_.pop_front();
  }
  // After at least one value.
  double first() const { return first_ / static_cast<double>(std::min(seen_, count_)); }
  double last() const {
    return std::accumulate(last_.begin(), last_.end(), 0.0) / static_cast<double>(last_.size());
  }

 private:
  std::size_t count_, seen_ = 0;
  double first_ = 0;  // their sum
  std::deque<double> last_;
};

}  // namespace stagecoach
