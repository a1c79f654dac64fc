// Faults of GPUs. As the driver's, the first one stays: every later call returns it. Unlike the
// driver's it has words, which cudaGetErrorString gives, and which are printed when it happens.
#pragma once

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace ptx {

// Work of a GPU throws it where it must not go on.
class Fault : public std::runtime_error {
 public:
  Fault(cudaError_t code, const std::string& words) : std::runtime_error(words), code_(code) {}
  cudaError_t code() const { return code_; }

 private:
  cudaError_t code_;
};

// The first fault's code, or cudaSuccess; and its words, which stay where they are until it is
// forgotten.
cudaError_t fault_status();
const char* fault_words();
void report(const Fault& fault);

// Forgets the fault, for tests that made it. A program that ends with one has exit status 3.
void forget_fault();

}  // namespace ptx
