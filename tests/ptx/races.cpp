#include "tests/ptx/races.h"

#include <fmt/format.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
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

// The last store to 4 bytes, and loads since then: of several that are not ordered, as many as fit.
struct Cell {
  const Moment* store = nullptr;
  const Moment* loads[3] = {};
};

// The work in a cell that is not ordered before `moment`, or null.
const Moment* conflict(const Cell& cell, Access access, const Moment& moment) {
  const auto unordered = [&](const Moment* other) {
    return other != nullptr && !moment.is_after(*other);
  };
  if (unordered(cell.store)) return cell.store;
  if (access == Access::kLoad) return nullptr;
  for (const Moment* load : cell.loads) {
    if (unordered(load)) return load;
  }
  return nullptr;
}

void note(Cell& cell, Access access, const Moment& moment) {
  if (access == Access::kStore) {
    cell = {&moment, {}};
    return;
  }
  const Moment** place = &cell.loads[2];
  for (const Moment*& load : cell.loads) {
    if (load == nullptr || moment.is_after(*load)) place = &load;
  }
  *place = &moment;
}

struct State {
  std::mutex mutex;
  std::map<int, std::shared_ptr<Touches>> touches;  // by the allocation's number
  std::set<std::shared_ptr<const Moment>> moments;  // that cells point to
};

State& state() {
  static auto& all = *new State;
  return all;
}

// Kept as long as the program runs.
const Moment& kept(const std::shared_ptr<const Moment>& moment) {
  thread_local const Moment* last = nullptr;
  if (last != moment.get()) {
    State& all = state();
    std::lock_guard lock(all.mutex);
    all.moments.insert(moment);
    last = moment.get();
  }
  return *moment;
}

}  // namespace

// With a lock of its own: streams that touch other memory do not wait.
class Touches {
 public:
  explicit Touches(std::size_t bytes) : cells((bytes + kCellBytes - 1) / kCellBytes) {}
  std::mutex mutex;
  std::vector<Cell> cells;
};

bool is_checking_races() {
  return on;
}
void check_races(bool check) {
  on = check;
}

std::shared_ptr<Touches> touches_of(const Allocation& allocation) {
  State& all = state();
  std::lock_guard lock(all.mutex);
  std::shared_ptr<Touches>& touches = all.touches[allocation.number];
  if (!touches) touches = std::make_shared<Touches>(allocation.bytes);
  return touches;
}

void forget_touches(const Allocation& allocation) {
  State& all = state();
  std::lock_guard lock(all.mutex);
  all.touches.erase(allocation.number);
}

void touch(Touches& touches, const Allocation& allocation, std::size_t offset, std::size_t bytes,
           Access access, const std::shared_ptr<const Moment>& shared, const Who& who) {
  const Moment& moment = kept(shared);
  std::lock_guard lock(touches.mutex);
  for (std::size_t i = offset / kCellBytes; i <= (offset + bytes - 1) / kCellBytes; ++i) {
    Cell& cell = touches.cells[i];
    if (const Moment* other = conflict(cell, access, moment)) {
      throw Fault(
          cudaErrorLaunchFailure,
          fmt::format("{}: a race: {} of the bytes from {} on of {}, and nothing orders it behind "
                      "{}, which {} "
                      "there",
                      who(), access == Access::kLoad ? "a load" : "a store", i * kCellBytes,
                      words_of(allocation), other->name, cell.store == other ? "stores" : "loads"));
    }
    note(cell, access, moment);
  }
}

}  // namespace ptx
