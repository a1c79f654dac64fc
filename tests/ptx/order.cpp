#include "tests/ptx/order.h"

#include <algorithm>
#include <mutex>

namespace ptx {
namespace {

struct State {
  std::mutex mutex;
  Clock host;
  std::vector<std::uint64_t> times;  // of all timelines, ended ones too
  std::vector<int> ended;            // whose numbers may be taken again
};

State& state() {
  static auto& all = *new State;
  return all;
}

}  // namespace

void Clock::join(const Clock& other) {
  times_.resize(std::max(times_.size(), other.times_.size()));
  for (std::size_t i = 0; i < other.times_.size(); ++i)
    times_[i] = std::max(times_[i], other.times_[i]);
}

std::uint64_t Clock::of(int timeline) const {
  const auto index = static_cast<std::size_t>(timeline);
  return index < times_.size() ? times_[index] : 0;
}

void Clock::set(int timeline, std::uint64_t time) {
  const auto index = static_cast<std::size_t>(timeline);
  times_.resize(std::max(times_.size(), index + 1));
  times_[index] = time;
}

Timeline::Timeline() {
  State& all = state();
  std::lock_guard lock(all.mutex);
  if (all.ended.empty()) {
    number_ = static_cast<int>(all.times.size());
    all.times.push_back(0);
  } else {
    number_ = all.ended.back();
    all.ended.pop_back();
  }
}

Timeline::~Timeline() {
  State& all = state();
  std::lock_guard lock(all.mutex);
  all.ended.push_back(number_);
}

std::shared_ptr<const Moment> Timeline::next(const std::string& name) {
  State& all = state();
  std::lock_guard lock(all.mutex);
  const std::uint64_t time = ++all.times[static_cast<std::size_t>(number_)];
  clock_.join(all.host);
  clock_.set(number_, time);
  return std::make_shared<const Moment>(Moment{clock_, number_, time, name});
}

void Timeline::wait(const Clock& clock) {
  std::lock_guard lock(state().mutex);
  clock_.join(clock);
}

Clock Timeline::now() const {
  std::lock_guard lock(state().mutex);
  return clock_;
}

void host_waits(const Clock& clock) {
  State& all = state();
  std::lock_guard lock(all.mutex);
  all.host.join(clock);
}

}  // namespace ptx
