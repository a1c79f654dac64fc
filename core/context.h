// Context: what every operation needs beside its tensors.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <typeindex>
#include <vector>

#include "core/buffer.h"
#include "core/stream.h"
#include "core/target.h"
#include "core/thread_pool.h"

namespace stagecoach {

// The stream that orders the operations, the compute threads that run them, and scratch memory.
// Operations on one context run one after another, so all of them share the workspace.
class Context {
 public:
  // A stream on the target's device with its compute threads (>= 1) and no workspace.
  explicit Context(const Target& target = {});
  // The same with a stream that was made for it, on the target's device.
  Context(const Target& target, std::unique_ptr<Stream> stream);
  // Waits for what is enqueued.
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Stream& stream() { return *stream_; }
  ThreadPool& pool() { return pool_; }
  const Target& target() const { return target_; }
  Device device() const { return target_.device; }
  int threads() const { return pool_.threads(); }

  // Scratch memory for operations, made once by who planned it. `view` must outlive the context's
  // last operation.
  void set_workspace(Tensor view) { workspace_ = view; }
  // The workspace; throws Error naming `operation` when it has fewer than `bytes`.
  void* workspace(const char* operation, std::int64_t bytes) const;

  // Where raise_unless_finite() writes 1, and operations that change weights look before they do:
  // host memory that every device of the job reaches. Null (the default): there is none.
  void set_failure_flag(std::uint32_t* flag) { failure_flag_ = flag; }
  std::uint32_t* failure_flag() const { return failure_flag_; }

  // What a backend keeps with a context, such as a library's handle: made from the context when
  // first asked for, and gone with it.
  template <typename T>
  T& extension() {
    std::shared_ptr<void>& slot = extensions_[typeid(T)];
    if (!slot) slot = std::make_shared<T>(*this);
    return *static_cast<T*>(slot.get());
  }

 private:
  Target target_;
  ThreadPool pool_;
  Tensor workspace_;
  std::uint32_t* failure_flag_ = nullptr;
  std::unique_ptr<Stream> stream_;  // its tasks use the members above
  std::map<std::type_index, std::shared_ptr<void>> extensions_;
};

// `bytes` of zeros in the host's memory, which the devices of all contexts reach.
Buffer shared_host_memory(const std::vector<Context*>& contexts, std::int64_t bytes);

// On the context's device.
inline void check_tensor(const Context& context, const char* operation, const char* name,
                         const Tensor& tensor, const TensorSpec& expected) {
  check_tensor(context.device(), operation, name, tensor, expected);
}

}  // namespace stagecoach
