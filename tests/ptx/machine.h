// What a translated kernel (translate.py) is made of: a thread's state, its accesses to memory, its
// parameters; and the table of a source's kernels.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

#include "tests/ptx/arithmetic.h"
#include "tests/ptx/phases.h"

namespace ptx {

struct Index {
  u32 x = 0, y = 0, z = 0;
};

// Generic addresses of shared and of local memory; addresses within them begin at 0.
inline constexpr u64 kSharedWindow = u64{1} << 60;
inline constexpr u64 kLocalWindow = u64{2} << 60;

enum class Access { kLoad, kStore };

// The allocation that an instruction touched last: where its next access most likely goes.
struct Window {
  u64 address = 0, bytes = 0;
  std::byte* data = nullptr;
};

class Launch;

struct Thread {
  // The driver's registers, under their names in PTX.
  Index tid, ntid, ctaid, nctaid;
  u32 laneid = 0;
  const std::byte* parameters = nullptr;
  Launch* launch = nullptr;
  Window* windows = nullptr;  // one for each instruction that touches memory
  std::span<std::byte> shared, local;
  u64 executed = 0;  // instructions
  Wait wait;         // what it waits for, between two phases

  template <typename T>
  T parameter(int offset) const {
    T value;
    std::memcpy(&value, parameters + offset, sizeof(T));
    return value;
  }

  // Where the bytes of an access lie, which is the launch's fault (launch.h) if they may not be
  // touched. `site` is the number of the instruction among those that touch memory.
  template <u32 kBytes, Access kAccess>
  std::byte* global(int site, u64 address) {
    const Window& window = windows[site];
    const u64 offset = address - window.address;
    if (offset < window.bytes && window.bytes - offset >= kBytes && address % kBytes == 0)
        [[likely]] {
      return window.data + offset;
    }
    return find_global(site, address, kBytes, kAccess);
  }
  template <u32 kBytes, Access kAccess>
  std::byte* in_shared(int site, u64 offset) {
    return in(shared, "shared", site, offset, kBytes, kAccess);
  }
  template <u32 kBytes, Access kAccess>
  std::byte* in_local(int site, u64 offset) {
    return in(local, "local", site, offset, kBytes, kAccess);
  }
  template <u32 kBytes, Access kAccess>
  std::byte* generic(int site, u64 address) {
    if (address >= kLocalWindow) return in_local<kBytes, kAccess>(site, address - kLocalWindow);
    if (address >= kSharedWindow) return in_shared<kBytes, kAccess>(site, address - kSharedWindow);
    return global<kBytes, kAccess>(site, address);
  }

  WaitForBlock barrier(u32 id) { return {this->wait, id}; }
  WaitForWarp warp_barrier(u32 members) { return {this->wait, {.members = members}}; }
  WaitForWarp shuffle(Shuffle shuffle) { return {this->wait, shuffle}; }

 private:
  std::byte* find_global(int site, u64 address, u32 bytes, Access access);
  std::byte* in(std::span<std::byte> memory, const char* kind, int site, u64 offset, u32 bytes,
                Access access);
};

// Element `index` of an access of several.
template <typename T>
T element(const std::byte* from, int index) {
  T value;
  std::memcpy(&value, from + index * sizeof(T), sizeof(T));
  return value;
}
template <typename T>
void put_element(std::byte* to, int index, T value) {
  std::memcpy(to + index * sizeof(T), &value, sizeof(T));
}

// Where in the sources an instruction comes from.
struct Site {
  const char* file;
  int line;
};
struct Parameter {
  int offset, bytes;
};
struct Kernel {
  const char* name;  // as the linker knows it
  // One thread from its beginning to its end, or, of a kernel whose threads wait for each other,
  // from one wait to the next. One of the two.
  void (*run)(Thread&);
  Phases (*start)(Thread&);
  std::span<const Parameter> parameters;
  std::span<const Site> sites;
  int parameter_bytes, shared_bytes, local_bytes;  // shared: without what a launch asks for
  u32 most_threads;                                // of a block; 0: not said
};

// Adds a source's kernels to those that can be launched.
struct Registered {
  explicit Registered(std::span<const Kernel> kernels);
};

}  // namespace ptx
