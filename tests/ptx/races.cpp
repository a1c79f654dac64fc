#include "tests/ptx/races.h"

#include <fmt/format.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include "tests/ptx/control.h"
#include "tests/ptx/faults.h"

namespace ptx {
namespace {

constexpr std::size_t kCellBytes = 4;

bool asked_for() {
  const char* text = std::getenv("STAGECOACH_PTX_RACES");
  return text != nullptr && std::string(text) == "1";
}

std::atomic<bool> on = asked_for();

// The last store to 4 bytes, and loads since then, by the number of the work; 0: none. Of several
// loads that are not ordered, as many as fit.
struct Cell {
  std::uint32_t store = 0;
  std::uint32_t loads[3] = {};
};

struct State {
  std::mutex mutex;
  std::vector<std::shared_ptr<const Moment>> work = {nullptr};  // by its number
  std::map<int, std::vector<Cell>> cells;                       // by the allocation's number
};

State& state() {
  static auto& all = *new State;
  return all;
}

std::uint32_t number_of(State& all, const std::shared_ptr<const Moment>& moment) {
  if (all.work.back() != moment) {
    // Work on several streams takes turns: it may be there already.
    for (std::size_t i = all.work.size(); i-- > 1 && i + 16 > all.work.size();) {
      if (all.work[i] == moment) return static_cast<std::uint32_t>(i);
    }
    all.work.push_back(moment);
  }
  return static_cast<std::uint32_t>(all.work.size() - 1);
}

// The work in a cell that is not ordered before `moment`, or null.
const Moment* conflict(const State& all, const Cell& cell, Access access, const Moment& moment) {
  const auto unordered = [&](std::uint32_t number) -> const Moment* {
    const Moment* other = all.work[number].get();
    return other != nullptr && !moment.is_after(*other) ? other : nullptr;
  };
  if (const Moment* other = unordered(cell.store)) return other;
  if (access == Access::kLoad) return nullptr;
  for (const std::uint32_t load : cell.loads) {
    if (const Moment* other = unordered(load)) return other;
  }
  return nullptr;
}

void note(const State& all, Cell& cell, Access access, std::uint32_t number) {
  if (access == Access::kStore) {
    cell = {number, {}};
    return;
  }
  const Moment& moment = *all.work[number];
  std::uint32_t* place = &cell.loads[2];
  for (std::uint32_t& load : cell.loads) {
    if (load == 0 || moment.is_after(*all.work[load])) place = &load;
  }
  *place = number;
}

}  // namespace

bool is_checking_races() {
  return on;
}
void check_races(bool check) {
  on = check;
}

void touch(const Allocation& allocation, std::size_t offset, std::size_t bytes, Access access,
           const std::shared_ptr<const Moment>& moment, const Who& who) {
  State& all = state();
  std::lock_guard lock(all.mutex);
  std::vector<Cell>& cells = all.cells[allocation.number];
  cells.resize((allocation.bytes + kCellBytes - 1) / kCellBytes);
  const std::uint32_t number = number_of(all, moment);
  for (std::size_t i = offset / kCellBytes; i <= (offset + bytes - 1) / kCellBytes; ++i) {
    if (const Moment* other = conflict(all, cells[i], access, *moment)) {
      const bool stored = all.work[cells[i].store].get() == other;
      throw Fault(cudaErrorLaunchFailure,
                  fmt::format("{}: a race: {} of the bytes from {} on of {}, and nothing orders it "
                              "behind {}, which {} "
                              "there",
                              who(), access == Access::kLoad ? "a load" : "a store", i * kCellBytes,
                              words_of(allocation), other->name, stored ? "stores" : "loads"));
    }
    note(all, cells[i], access, number);
  }
}

void forget_touches(const Allocation& allocation) {
  State& all = state();
  std::lock_guard lock(all.mutex);
  all.cells.erase(allocation.number);
}

}  // namespace ptx
