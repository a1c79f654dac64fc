#include "core/context.h"

#include "core/error.h"

namespace stagecoach {

Context::Context(const Target& target)
    : target_(target), pool_(target.threads), stream_(Stream::create(target.device)) {}

Context::~Context() {
  stream_->reset();
}

void* Context::workspace(const char* operation, std::int64_t bytes) const {
  if (bytes == 0) return nullptr;
  const std::int64_t available = workspace_.defined() ? workspace_.bytes() : 0;
  STAGECOACH_CHECK(available >= bytes, operation, fmt::format("a workspace of {} bytes", bytes),
                   fmt::format("{} bytes", available));
  return workspace_.data;
}

void check_tensor(const Context& context, const char* operation, const char* name,
                  const Tensor& tensor, const TensorSpec& expected) {
  STAGECOACH_CHECK(tensor.defined(), operation, fmt::format("{} {}", name, expected.to_string()),
                   "no memory");
  STAGECOACH_CHECK(tensor.spec == expected, operation,
                   fmt::format("{} {}", name, expected.to_string()), tensor.spec.to_string());
  const Device device = context.device();
  STAGECOACH_CHECK(tensor.device == device, operation,
                   fmt::format("{} {} on {}", name, expected.to_string(), device.to_string()),
                   fmt::format("{} on {}", tensor.spec.to_string(), tensor.device.to_string()));
}

}  // namespace stagecoach
