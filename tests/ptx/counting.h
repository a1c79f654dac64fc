// Counts what kernels execute and which sectors their warps touch (control.h).
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "tests/ptx/control.h"
#include "tests/ptx/machine.h"

namespace ptx {

// Of one launch.
class Counter {
 public:
  // The instruction `site` of a thread touches the bytes at `address`.
  void touch(const Thread& thread, int site, std::uint64_t address, std::uint32_t bytes,
             Access access);
  // The thread has ended; all threads of a block have.
  void end_thread(const Thread& thread);
  void end_block();

  const KernelCounts& counts() const { return counts_; }

 private:
  KernelCounts counts_ = {.launches = 1};
  // Of the block: how often each thread executed each instruction; and of each warp, instruction
  // and execution of it, the sectors.
  std::map<std::pair<std::uint32_t, int>, int> executions_;
  std::set<std::tuple<std::uint32_t, int, int, std::uint64_t>> loaded_, stored_;
};

// Whether counting is on; adds a launch's counts.
bool is_counting();
void add_counts(const std::string& kernel, const KernelCounts& counts);

}  // namespace ptx
