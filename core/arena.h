// ArenaPlan and Arena: every byte of a stage has its place before the first step.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/buffer.h"

namespace stagecoach {

// A piece of memory that is needed from step `first` to step `last` (inclusive) of some order.
struct Lifetime {
  std::int64_t bytes = 0;
  int first = 0;
  int last = 0;
};

// Places pieces whose lifetimes do not touch at the same bytes: largest first, each at the lowest
// aligned offset that is free for its whole lifetime. Returns one offset for each; `total` gets
// the bytes that all of them need.
std::vector<std::int64_t> place_by_lifetime(std::span<const Lifetime> pieces, std::int64_t& total);

// A named region of an arena: `count` equal slots of `bytes` each.
struct Region {
  std::string name;
  std::int64_t offset = 0;
  std::int64_t bytes = 0;  // of one slot, a multiple of Buffer::kAlignment
  int count = 0;
};

// Regions behind one another.
class ArenaPlan {
 public:
  // Adds a region and returns its index. `bytes` is rounded up to the alignment.
  int add(std::string name, std::int64_t bytes, int count = 1);
  const std::vector<Region>& regions() const { return regions_; }
  std::int64_t bytes() const { return bytes_; }

 private:
  std::vector<Region> regions_;
  std::int64_t bytes_ = 0;
};

// The memory of a plan, and a meter of how much of it was needed. Slots are taken and given back by
// who uses them; the high-water mark is the bytes of all slots that were ever taken (of each region
// the most; regions share no memory). take, give and the meter are safe to call from several
// threads.
class Arena {
 public:
  explicit Arena(ArenaPlan plan, Device device = {});

  // A view at `offset` within slot `slot` of a region; throws Error when it does not fit.
  Tensor view(int region, int slot, std::int64_t offset, const TensorSpec& spec) const;

  void take(int region, int slot);  // throws Error when the slot is taken already
  void give(int region, int slot);  // throws Error when it is not taken
  const ArenaPlan& plan() const { return plan_; }
  Device device() const { return buffer_.device(); }
  std::int64_t peak_bytes() const { return peak_.load(); }

 private:
  struct Slot {
    std::atomic<bool> taken{false}, used{false};  // now; ever
  };
  Slot& slot_of(int region, int slot);

  ArenaPlan plan_;
  Buffer buffer_;
  std::vector<std::vector<Slot>> slots_;
  std::atomic<std::int64_t> peak_{0};
};

}  // namespace stagecoach
