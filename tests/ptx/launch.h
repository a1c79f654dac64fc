// Runs a kernel's blocks, one thread after the other; a kernel whose threads wait for each other,
// in phases.
#pragma once

#include <cuda_runtime_api.h>

#include <string>
#include <vector>

#include "tests/ptx/counting.h"
#include "tests/ptx/machine.h"
#include "tests/ptx/races.h"

namespace ptx {

// The kernel of a linker's name; null where no PTX of it was translated.
const Kernel* find_kernel(const std::string& name);
// As a programmer writes it, without parameters and the namespaces of this project.
std::string readable_name(const Kernel& kernel);

class Launch {
 public:
  // Copies the arguments. `shared_bytes` are those beyond what the kernel declares.
  Launch(const Kernel& kernel, dim3 grid, dim3 block, std::size_t shared_bytes, void** arguments);

  // cudaErrorInvalidConfiguration where no GPU takes such blocks.
  cudaError_t check() const;

  // On `device`. Throws Fault, which names the thread and the place in the sources.
  void run(int device);

  // For Thread: the bytes of an access outside of the window that was last used.
  std::byte* find(const Thread& thread, int site, std::uint64_t address, std::uint32_t bytes,
                  Access access);
  // Throws Fault about an access in a block's own memory, which `memory` names.
  [[noreturn]] void refuse(const Thread& thread, int site, const std::string& memory,
                           std::uint64_t offset, std::uint32_t bytes, Access access) const;

 private:
  // What an instruction touched last.
  struct Place {
    Allocation allocation;
    std::shared_ptr<Touches> touches;  // where races are looked for
  };

  void run_block(Index block);
  void run_phases(std::vector<Thread>& threads);
  std::string words_of(const Thread& thread, int site) const;

  const Kernel* kernel_;
  dim3 grid_, block_;
  std::size_t shared_bytes_;
  std::vector<std::byte> arguments_;

  // Of the run.
  int device_ = 0;
  std::vector<Window> windows_;
  std::vector<Place> places_;
  std::vector<std::byte> shared_, local_;
  Counter* counter_ = nullptr;
  bool races_ = false;
};

}  // namespace ptx
