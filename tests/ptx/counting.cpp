#include "tests/ptx/counting.h"

#include <atomic>
#include <mutex>

namespace ptx {
namespace {

constexpr std::uint64_t kSector = 32;

std::atomic<bool> on = false;
std::mutex mutex;
std::map<std::string, KernelCounts>& all_counts() {
  static auto& counts = *new std::map<std::string, KernelCounts>;
  return counts;
}

std::uint32_t index_in_block(const Thread& thread) {
  return thread.tid.x + thread.ntid.x * (thread.tid.y + thread.ntid.y * thread.tid.z);
}

}  // namespace

void Counter::touch(const Thread& thread, int site, std::uint64_t address, std::uint32_t bytes,
                    Access access) {
  const std::uint32_t index = index_in_block(thread);
  const int execution = executions_[{index, site}]++;
  auto& sectors = access == Access::kLoad ? loaded_ : stored_;
  for (std::uint64_t sector = address / kSector; sector <= (address + bytes - 1) / kSector;
       ++sector) {
    sectors.emplace(index / 32, site, execution, sector);
  }
}

void Counter::end_thread(const Thread& thread) {
  ++counts_.threads;
  counts_.instructions += thread.executed;
}

void Counter::end_block() {
  counts_.sectors_loaded += loaded_.size();
  counts_.sectors_stored += stored_.size();
  executions_.clear();
  loaded_.clear();
  stored_.clear();
}

bool is_counting() {
  return on;
}

void add_counts(const std::string& kernel, const KernelCounts& counts) {
  std::lock_guard lock(mutex);
  KernelCounts& sum = all_counts()[kernel];
  sum.launches += counts.launches;
  sum.threads += counts.threads;
  sum.instructions += counts.instructions;
  sum.sectors_loaded += counts.sectors_loaded;
  sum.sectors_stored += counts.sectors_stored;
}

void start_counting() {
  std::lock_guard lock(mutex);
  all_counts().clear();
  on = true;
}

std::map<std::string, KernelCounts> stop_counting() {
  std::lock_guard lock(mutex);
  on = false;
  return all_counts();
}

}  // namespace ptx
