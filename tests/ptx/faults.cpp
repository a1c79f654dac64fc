#include "tests/ptx/faults.h"

#include <unistd.h>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>

namespace ptx {
namespace {

std::mutex mutex;
std::atomic<cudaError_t> status = cudaSuccess;
// Never destroyed: work may still run when the program ends.
std::string& words() {
  static auto& text = *new std::string;
  return text;
}

// The caller may have dropped the error.
void end_with_fault() {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "[ptx] ends with a fault of a GPU: %s\n", fault_words());
  std::fflush(nullptr);
  _exit(3);
}

}  // namespace

cudaError_t fault_status() {
  return status;
}

const char* fault_words() {
  std::lock_guard lock(mutex);
  return words().c_str();
}

void report(const Fault& fault) {
  std::lock_guard lock(mutex);
  if (status != cudaSuccess) return;
  static const int registered = std::atexit(end_with_fault);
  static_cast<void>(registered);
  words() = fault.what();
  status = fault.code();
  std::fprintf(stderr, "[ptx] %s\n", fault.what());
}

void forget_fault() {
  status = cudaSuccess;
}

}  // namespace ptx
