#include "tests/ptx/memory.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "tests/ptx/control.h"
#include "tests/ptx/devices.h"
#include "tests/ptx/faults.h"
#include "tests/ptx/races.h"

namespace ptx {
namespace {

constexpr std::size_t kCanaryBytes = 4096;
constexpr int kCanary = 0xC5;
constexpr int kPoison = 0xFF;  // NaN in every type
// What the driver promises; no address is aligned better, lest a kernel relies on it.
constexpr std::size_t kAlignment = 256;
constexpr std::size_t kAddresses = std::size_t{16} << 40;

std::size_t rounded(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

struct State {
  std::mutex mutex;
  std::map<std::uint64_t, Allocation> live, freed;  // by address
  std::uint64_t begin = 0, next = 0, end = 0;       // addresses of GPUs
  int count = 0;
};

void* map(std::size_t bytes, int protection) {
  void* memory =
      mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    fmt::print(stderr, "[ptx] the system has no {} bytes\n", bytes);
    std::abort();
  }
  return memory;
}

State& state();

// Before the system's own handler ends the program: what it was that the host touched.
void explain(int, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<std::uint64_t>(info->si_addr);
  if (address >= state().begin && address < state().end) {
    fmt::print(stderr, "[ptx] the host touches {:#x}: memory of a GPU, which it cannot\n", address);
  }
  signal(SIGSEGV, SIG_DFL);
}

// Never destroyed: buffers that live as long as the program are freed after it.
State& state() {
  static State& all = *[] {
    auto* made = new State;
    made->begin = reinterpret_cast<std::uint64_t>(map(kAddresses, PROT_NONE));
    made->next = made->begin + kAlignment;
    made->end = made->begin + kAddresses;
    struct sigaction action = {};
    action.sa_sigaction = explain;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, nullptr);
    return made;
  }();
  return all;
}

// The last one that begins at `address` or before it.
const Allocation* before(const std::map<std::uint64_t, Allocation>& allocations,
                         std::uint64_t address) {
  const auto after = allocations.upper_bound(address);
  return after == allocations.begin() ? nullptr : &std::prev(after)->second;
}
const Allocation* containing(const std::map<std::uint64_t, Allocation>& allocations,
                             std::uint64_t address) {
  const Allocation* found = before(allocations, address);
  return found != nullptr && address - found->address < found->bytes ? found : nullptr;
}

void check_canary(const Allocation& allocation) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(allocation.data);
  const auto whole = [](unsigned char byte) { return byte == kCanary; };
  if (!std::all_of(bytes - kCanaryBytes, bytes, whole)) {
    report({cudaErrorIllegalAddress,
            fmt::format("the bytes before {} were overwritten", words_of(allocation))});
  }
  const unsigned char* end = bytes + allocation.bytes;
  const unsigned char* canary_end = bytes + rounded(allocation.bytes) + kCanaryBytes;
  const auto* wrong = std::find_if_not(end, canary_end, whole);
  if (wrong != canary_end) {
    report({cudaErrorIllegalAddress, fmt::format("the byte {} behind the end of {} was overwritten",
                                                 wrong - end, words_of(allocation))});
  }
}

// What lies at an address that is not, with all its bytes, in an allocation.
std::string nothing_at(std::uint64_t address, std::size_t bytes) {
  constexpr std::uint64_t kNear = 1 << 20;
  const State& all = state();
  if (const Allocation* old = containing(all.freed, address)) {
    return fmt::format("in {}, which was freed", words_of(*old));
  }
  const Allocation* near = before(all.live, address);
  if (near != nullptr && address - near->address < near->bytes + kNear) {
    return fmt::format("{} bytes behind the end of {}",
                       address + bytes - near->address - near->bytes, words_of(*near));
  }
  const auto next = all.live.upper_bound(address);
  if (next != all.live.end() && next->first - address < kNear) {
    return fmt::format("{} bytes before {}", next->first - address, words_of(next->second));
  }
  const bool of_gpus = address >= all.begin && address < all.end;
  return of_gpus ? "where nothing was ever allocated" : "in the host's own memory, or nowhere";
}

}  // namespace

std::string words_of(const Allocation& allocation) {
  const std::string where = allocation.device == kPinned
                                ? "pinned memory of the host"
                                : fmt::format("cuda:{}", allocation.device);
  return fmt::format("allocation {} ({} bytes at {:#x} on {})", allocation.number, allocation.bytes,
                     allocation.address, where);
}

void* allocate(std::size_t bytes, int device) {
  State& all = state();
  std::lock_guard lock(all.mutex);
  if (device >= 0) {
    std::size_t used = bytes;
    for (const auto& [address, allocation] : all.live) {
      if (allocation.device == device) used += allocation.bytes;
    }
    if (used > memory_bytes()) return nullptr;
  }
  auto* mapped =
      static_cast<std::byte*>(map(rounded(bytes) + 2 * kCanaryBytes, PROT_READ | PROT_WRITE));
  Allocation made{0, bytes, device, mapped + kCanaryBytes, ++all.count};
  std::fill_n(mapped, kCanaryBytes, std::byte{kCanary});
  std::fill_n(made.data, bytes, std::byte{kPoison});
  std::fill_n(made.data + bytes, rounded(bytes) - bytes + kCanaryBytes, std::byte{kCanary});
  made.address = reinterpret_cast<std::uint64_t>(made.data);
  if (device >= 0) {
    // An odd multiple of the alignment.
    made.address = all.next;
    all.next += (rounded(bytes) / kAlignment + 17) / 2 * 2 * kAlignment;
    if (all.next > all.end) std::abort();
  }
  all.live[made.address] = made;
  return reinterpret_cast<void*>(made.address);
}

bool release(void* address) {
  State& all = state();
  std::lock_guard lock(all.mutex);
  const auto found = all.live.find(reinterpret_cast<std::uint64_t>(address));
  if (found == all.live.end()) return false;
  const Allocation& allocation = found->second;
  check_canary(allocation);
  forget_touches(allocation);
  munmap(allocation.data - kCanaryBytes, rounded(allocation.bytes) + 2 * kCanaryBytes);
  if (allocation.device >= 0) all.freed[allocation.address] = allocation;
  all.live.erase(found);
  return true;
}

std::size_t used_bytes(int device) {
  State& all = state();
  std::lock_guard lock(all.mutex);
  std::size_t sum = 0;
  for (const auto& [address, allocation] : all.live) {
    if (allocation.device == device) sum += allocation.bytes;
  }
  return sum;
}

void check_canaries() {
  State& all = state();
  std::lock_guard lock(all.mutex);
  for (const auto& [address, allocation] : all.live) check_canary(allocation);
}

bool is_known(const void* pointer) {
  const auto address = reinterpret_cast<std::uint64_t>(pointer);
  State& all = state();
  std::lock_guard lock(all.mutex);
  return (address >= all.begin && address < all.end) || containing(all.live, address) != nullptr;
}

Allocation reach(const Who& who, std::uint64_t address, std::size_t bytes, std::size_t alignment,
                 Access access, int device) {
  State& all = state();
  std::lock_guard lock(all.mutex);
  const auto fault = [&](cudaError_t code, const std::string& why) {
    return Fault(code,
                 fmt::format("{}: {} of {} bytes at {:#x}, {}", who(),
                             access == Access::kLoad ? "load" : "store", bytes, address, why));
  };
  const Allocation* found = containing(all.live, address);
  if (found == nullptr || found->bytes - (address - found->address) < bytes) {
    throw fault(cudaErrorIllegalAddress, nothing_at(address, bytes));
  }
  if (found->device >= 0 && found->device != device && !has_peer_access(device, found->device)) {
    throw fault(cudaErrorIllegalAddress, fmt::format("in {}, to which cuda:{} has no peer access",
                                                     words_of(*found), device));
  }
  if (address % alignment != 0) {
    throw fault(cudaErrorMisalignedAddress,
                fmt::format("which is not a multiple of {}, in {}", alignment, words_of(*found)));
  }
  return *found;
}

}  // namespace ptx
