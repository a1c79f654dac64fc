#include "tests/ptx/launch.h"

#include <cxxabi.h>
#include <fmt/format.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <optional>

#include "tests/ptx/faults.h"
#include "tests/ptx/memory.h"
#include "tests/ptx/streams.h"
#include "tests/ptx/warp.h"

namespace ptx {
namespace {

std::map<std::string, const Kernel*>& kernels() {
  static auto& all = *new std::map<std::string, const Kernel*>;
  return all;
}

constexpr std::size_t kMostShared = 227 << 10;  // of a block, as on an H100

void erase_all(std::string& text, const std::string& part) {
  for (std::size_t at; (at = text.find(part)) != std::string::npos;) text.erase(at, part.size());
}

// Calls body(x, y, z), x the fastest.
template <typename Body>
void for_each_index(dim3 size, const Body& body) {
  for (unsigned z = 0; z < size.z; ++z) {
    for (unsigned y = 0; y < size.y; ++y) {
      for (unsigned x = 0; x < size.x; ++x) body(Index{x, y, z});
    }
  }
}

}  // namespace

Registered::Registered(std::span<const Kernel> added) {
  for (const Kernel& kernel : added) kernels()[kernel.name] = &kernel;
}

const Kernel* find_kernel(const std::string& name) {
  const auto found = kernels().find(name);
  return found == kernels().end() ? nullptr : found->second;
}

std::string readable_name(const Kernel& kernel) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> demangled(
      abi::__cxa_demangle(kernel.name, nullptr, nullptr, &status), &std::free);
  std::string name = demangled ? demangled.get() : kernel.name;
  // A template's name begins with its result.
  if (name.starts_with("void ")) name.erase(0, 5);
  for (const char* space : {"stagecoach::", "cuda::", "(anonymous namespace)::"})
    erase_all(name, space);
  // nvcc's own name of it.
  const std::size_t anonymous = name.find("_GLOBAL__N__");
  if (anonymous != std::string::npos)
    name.erase(anonymous, name.find("::", anonymous) + 2 - anonymous);
  name.erase(std::min(name.rfind('('), name.size()));
  return name;
}

std::byte* Thread::find_global(int site, u64 address, u32 bytes, Access access) {
  return launch->find(*this, site, address, bytes, access);
}

std::byte* Thread::in(std::span<std::byte> memory, const char* kind, int site, u64 offset,
                      u32 bytes, Access access) {
  if (offset >= memory.size() || memory.size() - offset < bytes || offset % bytes != 0) {
    launch->refuse(*this, site, fmt::format("{} memory of {} bytes", kind, memory.size()), offset,
                   bytes, access);
  }
  return memory.data() + offset;
}

Launch::Launch(const Kernel& kernel, dim3 grid, dim3 block, std::size_t shared_bytes,
               void** arguments)
    : kernel_(&kernel),
      grid_(grid),
      block_(block),
      shared_bytes_(static_cast<std::size_t>(kernel.shared_bytes) + shared_bytes),
      arguments_(static_cast<std::size_t>(kernel.parameter_bytes)) {
  for (std::size_t i = 0; i < kernel.parameters.size(); ++i) {
    const auto [offset, bytes] = kernel.parameters[i];
    std::memcpy(arguments_.data() + offset, arguments[i], static_cast<std::size_t>(bytes));
  }
}

cudaError_t Launch::check() const {
  const std::uint64_t threads = std::uint64_t{block_.x} * block_.y * block_.z;
  const std::uint32_t most = kernel_->most_threads == 0 ? 1024 : kernel_->most_threads;
  const bool some = grid_.x > 0 && grid_.y > 0 && grid_.z > 0 && threads > 0;
  const bool few =
      grid_.x <= 0x7FFFFFFF && grid_.y <= 0xFFFF && grid_.z <= 0xFFFF && block_.z <= 64;
  return some && few && threads <= most && shared_bytes_ <= kMostShared
             ? cudaSuccess
             : cudaErrorInvalidConfiguration;
}

std::string Launch::words_of(const Thread& thread, int site) const {
  const auto index = [](const Index& i) { return fmt::format("({}, {}, {})", i.x, i.y, i.z); };
  std::string words =
      fmt::format("kernel {}, thread {} of block {} on cuda:{}", readable_name(*kernel_),
                  index(thread.tid), index(thread.ctaid), device_);
  if (site >= 0) {
    const Site& place = kernel_->sites[static_cast<std::size_t>(site)];
    words += fmt::format(", {}:{}", place.file, place.line);
  }
  return words;
}

std::byte* Launch::find(const Thread& thread, int site, std::uint64_t address, std::uint32_t bytes,
                        Access access) {
  const Who who = [&] { return words_of(thread, site); };
  Place& last = places_[static_cast<std::size_t>(site)];
  const std::uint64_t end = last.allocation.address + last.allocation.bytes;
  if (address < last.allocation.address || address + bytes > end || address % bytes != 0) {
    last.allocation = reach(who, address, bytes, bytes, access, device_);
    if (races_) last.touches = touches_of(last.allocation);
  }
  const Allocation& found = last.allocation;
  const std::size_t offset = address - found.address;
  // Without a window, every access comes here.
  if (counter_ != nullptr) counter_->touch(thread, site, address, bytes, access);
  if (races_) touch(*last.touches, found, offset, bytes, access, working_moment(), who);
  if (counter_ == nullptr && !races_) {
    windows_[static_cast<std::size_t>(site)] = {found.address, found.bytes, found.data};
  }
  return found.data + offset;
}

void Launch::refuse(const Thread& thread, int site, const std::string& memory, std::uint64_t offset,
                    std::uint32_t bytes, Access access) const {
  const bool misaligned = offset % bytes != 0;
  throw Fault(misaligned ? cudaErrorMisalignedAddress : cudaErrorIllegalAddress,
              fmt::format("{}: {} of {} bytes at {} in {}{}", words_of(thread, site),
                          access == Access::kLoad ? "load" : "store", bytes, offset, memory,
                          misaligned ? fmt::format(", which is not a multiple of {}", bytes) : ""));
}

void Launch::run(int device) {
  device_ = device;
  windows_.assign(kernel_->sites.size(), {});
  places_.assign(kernel_->sites.size(), {});
  shared_.resize(shared_bytes_);
  local_.resize(static_cast<std::size_t>(kernel_->local_bytes));
  std::optional<Counter> counter;
  if (is_counting()) counter.emplace();
  counter_ = counter ? &*counter : nullptr;
  races_ = is_checking_races();
  for_each_index(grid_, [&](Index block) {
    run_block(block);
    if (counter) counter->end_block();
  });
  if (counter) add_counts(readable_name(*kernel_), counter->counts());
}

void Launch::run_block(Index block) {
  std::fill(shared_.begin(), shared_.end(), std::byte{0xFF});  // NaN
  Thread thread;
  thread.ntid = {block_.x, block_.y, block_.z};
  thread.ctaid = block;
  thread.nctaid = {grid_.x, grid_.y, grid_.z};
  thread.parameters = arguments_.data();
  thread.launch = this;
  thread.windows = windows_.data();
  thread.shared = shared_;
  thread.local = local_;
  std::vector<Thread> threads;
  for_each_index(block_, [&](Index index) {
    thread.tid = index;
    thread.laneid = (index.x + block_.x * (index.y + block_.y * index.z)) % 32;
    if (kernel_->start != nullptr) {
      threads.push_back(thread);
      return;
    }
    thread.executed = 0;
    kernel_->run(thread);
    if (counter_ != nullptr) counter_->end_thread(thread);
  });
  if (!threads.empty()) run_phases(threads);
}

void Launch::run_phases(std::vector<Thread>& threads) {
  // Each has local memory of its own.
  std::vector<std::vector<std::byte>> local(threads.size(), local_);
  for (std::size_t i = 0; i < threads.size(); ++i) threads[i].local = local[i];
  run_block_in_phases(*kernel_, threads,
                      [&](const Thread& thread) { return words_of(thread, -1); });
  if (counter_ == nullptr) return;
  for (const Thread& thread : threads) counter_->end_thread(thread);
}

}  // namespace ptx
