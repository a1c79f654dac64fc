#include "tests/ptx/warp.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "tests/ptx/faults.h"

namespace ptx {
namespace {

constexpr std::size_t kLanes = 32;

struct Block {
  std::span<Thread> threads;
  std::vector<Phases> phases;

  bool done(std::size_t i) const { return phases[i].done(); }
  bool waits(std::size_t i, Wait::For what) const {
    return !done(i) && threads[i].wait.what == what;
  }
};

// The lane that `lane` reads, and whether it is in its segment: shfl.sync of PTX's manual.
struct Source {
  u32 lane;
  bool in_range;
};
Source source_of(const Shuffle& shuffle, u32 lane) {
  const u32 clamp = shuffle.clamp & 31, segment = shuffle.clamp >> 8 & 31, b = shuffle.lane & 31;
  const u32 last = (lane & segment) | (clamp & ~segment & 31);
  const u32 first = lane & segment;
  s32 from = 0;
  bool in_range = false;
  switch (shuffle.kind) {
    case ShuffleKind::kBarrier:
      return {lane, true};
    case ShuffleKind::kUp:
      from = static_cast<s32>(lane) - static_cast<s32>(b);
      in_range = from >= static_cast<s32>(last);
      break;
    case ShuffleKind::kDown:
      from = static_cast<s32>(lane + b);
      in_range = from <= static_cast<s32>(last);
      break;
    case ShuffleKind::kButterfly:
      from = static_cast<s32>(lane ^ b);
      in_range = from <= static_cast<s32>(last);
      break;
    case ShuffleKind::kIndex:
      from = static_cast<s32>(first | (b & ~segment & 31));
      in_range = from <= static_cast<s32>(last);
      break;
  }
  return {in_range ? static_cast<u32>(from) : lane, in_range};
}

// Gives the lanes of `warp` that name each other what they asked for. Whether there were any.
bool shuffle_warp(Block& block, std::size_t warp) {
  const std::size_t lanes = std::min(kLanes, block.threads.size() - warp);
  bool any = false;
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    if (!block.waits(warp + lane, Wait::For::kWarp)) continue;
    const Shuffle asked = block.threads[warp + lane].wait.shuffle;
    std::vector<std::size_t> members;
    bool all = true;
    for (std::size_t other = 0; other < lanes; ++other) {
      if ((asked.members >> other & 1) == 0) continue;
      members.push_back(other);
      const Wait& wait = block.threads[warp + other].wait;
      all = all && block.waits(warp + other, Wait::For::kWarp) &&
            wait.shuffle.members == asked.members && wait.shuffle.kind == asked.kind;
    }
    if (!all || (asked.members >> lane & 1) == 0) continue;
    for (const std::size_t member : members) {
      Wait& wait = block.threads[warp + member].wait;
      const Source source = source_of(wait.shuffle, static_cast<u32>(member));
      const bool there = source.lane < lanes && (asked.members >> source.lane & 1) != 0;
      // From a lane that takes no part: anything.
      wait.value = there ? block.threads[warp + source.lane].wait.shuffle.value : 0xFFFFFFFF;
      wait.in_range = source.in_range;
    }
    for (const std::size_t member : members)
      block.threads[warp + member].wait.what = Wait::For::kNothing;
    any = true;
  }
  return any;
}

// Lets the threads go on if all that have not ended wait for the same barrier.
bool pass_barrier(Block& block) {
  const Thread* first = nullptr;
  for (std::size_t i = 0; i < block.threads.size(); ++i) {
    if (block.done(i)) continue;
    if (!block.waits(i, Wait::For::kBlock)) return false;
    if (first == nullptr) first = &block.threads[i];
    if (first->wait.barrier != block.threads[i].wait.barrier) return false;
  }
  for (Thread& thread : block.threads) thread.wait.what = Wait::For::kNothing;
  return first != nullptr;
}

std::string waiting_for(const Wait& wait) {
  if (wait.what == Wait::For::kBlock) return fmt::format("barrier {}", wait.barrier);
  return fmt::format("lanes {:#010x} of its warp", wait.shuffle.members);
}

}  // namespace

void run_block_in_phases(const Kernel& kernel, std::vector<Thread>& threads,
                         const std::function<std::string(const Thread&)>& words_of) {
  Block block{threads, {}};
  for (Thread& thread : threads) block.phases.push_back(kernel.start(thread));
  for (;;) {
    for (std::size_t i = 0; i < threads.size(); ++i) {
      if (block.waits(i, Wait::For::kNothing)) block.phases[i].resume();
    }
    bool going_on = false;
    for (std::size_t warp = 0; warp < threads.size(); warp += kLanes)
      going_on |= shuffle_warp(block, warp);
    if (going_on || pass_barrier(block)) continue;
    for (std::size_t i = 0; i < threads.size(); ++i) {
      if (block.done(i)) continue;
      throw Fault(cudaErrorLaunchTimeout,
                  fmt::format("{}: waits for {}, to which not all come", words_of(threads[i]),
                              waiting_for(threads[i].wait)));
    }
    return;
  }
}

}  // namespace ptx
