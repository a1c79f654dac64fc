// Context: what every operation needs beside its tensors.
#pragma once

#include <memory>

#include "core/buffer.h"
#include "core/stream.h"
#include "core/thread_pool.h"

namespace stagecoach {

// The stream that orders the operations, the compute threads that run them, and scratch memory.
// Operations on one context run one after another, so all of them share the workspace.
class Context {
 public:
  // A stream on `device` with `threads` compute threads (>= 1) and no workspace.
  explicit Context(int threads = 1, Device device = {})
      : device_(device), pool_(threads), stream_(Stream::create(device)) {}

  Stream& stream() { return *stream_; }
  ThreadPool& pool() { return pool_; }
  Device device() const { return device_; }
  int threads() const { return pool_.threads(); }

  // Scratch memory for operations, made once by who planned it. `view` must outlive the context's
  // last operation.
  void set_workspace(Tensor view) { workspace_ = view; }
  // The workspace; throws Error naming `operation` when it has fewer than `bytes`.
  void* workspace(const char* operation, std::int64_t bytes) const;

 private:
  Device device_;
  ThreadPool pool_;
  Tensor workspace_;
  std::unique_ptr<Stream> stream_;  // last: its tasks use the members above
};

}  // namespace stagecoach
