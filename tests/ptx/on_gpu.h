// What these tests share: memory and a stream of a GPU, and a fault that is asked for.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/ptx/control.h"
#include "tests/ptx/faults.h"
#include "tests/ptx/streams.h"

namespace ptx::testing {

// `count` elements of a GPU's memory.
template <typename T>
class Elements {
 public:
  explicit Elements(std::size_t count, int device = 0) : count_(count) {
    cudaSetDevice(device);
    void* memory = nullptr;
    EXPECT_EQ(cudaMalloc(&memory, count * sizeof(T)), cudaSuccess);
    memory_ = static_cast<T*>(memory);
    cudaSetDevice(0);
  }
  ~Elements() { free(); }
  Elements(const Elements&) = delete;
  Elements& operator=(const Elements&) = delete;

  T* get() const { return memory_; }
  std::size_t bytes() const { return count_ * sizeof(T); }
  void free() { cudaFree(std::exchange(memory_, nullptr)); }

  void fill(const std::vector<T>& values, cudaStream_t stream) const {
    EXPECT_EQ(cudaMemcpyAsync(memory_, values.data(), bytes(), cudaMemcpyDefault, stream),
              cudaSuccess);
  }
  std::vector<T> values(cudaStream_t stream) const {
    std::vector<T> values(count_);
    EXPECT_EQ(cudaMemcpyAsync(values.data(), memory_, bytes(), cudaMemcpyDefault, stream),
              cudaSuccess);
    return values;
  }

 private:
  std::size_t count_;
  T* memory_ = nullptr;
};
using Floats = Elements<float>;

// A test with a stream on the first of two GPUs; faults and knobs end with it.
class OnGpu : public ::testing::Test {
 protected:
  OnGpu() {
    cudaSetDevice(0);
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  }
  ~OnGpu() override {
    cudaStreamSynchronize(stream);
    cudaStreamDestroy(stream);
    forget_fault();
  }

  // That what was enqueued ends in `code`, with all these words; forgets the fault.
  void expect_fault(cudaError_t code, const std::vector<std::string>& words) {
    drain(0);
    EXPECT_EQ(cudaStreamSynchronize(stream), code);
    for (const std::string& word : words) {
      EXPECT_NE(std::string(cudaGetErrorString(code)).find(word), std::string::npos)
          << "'" << word << "' is not in: " << cudaGetErrorString(code);
    }
    // As a context after such a fault: nothing works any more.
    drain(0);
    EXPECT_EQ(cudaStreamSynchronize(stream), code);
    forget_fault();
  }

  cudaStream_t stream = nullptr;
};

}  // namespace ptx::testing
