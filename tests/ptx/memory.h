// Memory of GPUs that only their work can read: an address of it is a number that the host cannot
// follow, and the bytes lie elsewhere. They are NaN at first, have canaries around them, and a
// freed address is not given out again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "tests/ptx/machine.h"

namespace ptx {

inline constexpr int kPinned = -1;  // memory of the host that every GPU reaches
inline constexpr int kNoDevice = -2;

// What was allocated: `device` is kPinned for the host's, whose address is where the bytes lie.
struct Allocation {
  std::uint64_t address = 0;
  std::size_t bytes = 0;
  int device = kNoDevice;
  std::byte* data = nullptr;
  int number = 0;  // which one it was, of all
};

// It in words.
std::string words_of(const Allocation& allocation);

// Null where the GPU has no room for it.
void* allocate(std::size_t bytes, int device);
// False where there is none at `address`. A canary that was overwritten is a fault.
bool release(void* address);
// Of a GPU.
std::size_t used_bytes(int device);
// Faults, where the canaries of what is allocated were overwritten.
void check_canaries();

// Whether it is pinned memory, a GPU's, or one that was a GPU's; else it is the host's own.
bool is_known(const void* address);

// The allocation that all the bytes of an access lie in. Throws Fault, with the words of `who` (a
// kernel and its thread, a copy), where there is none, where `alignment` does not divide the
// address, and where the allocation is of a GPU that `device` has no access to.
using Who = std::function<std::string()>;
Allocation reach(const Who& who, std::uint64_t address, std::size_t bytes, std::size_t alignment,
                 Access access, int device);

}  // namespace ptx
