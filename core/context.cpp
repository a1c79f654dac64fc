#include "core/context.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace stagecoach {

Context::Context(const Target& target) : Context(target, Stream::create(target.device)) {}

Context::Context(const Target& target, std::unique_ptr<Stream> stream)
    : target_(target), pool_(target.threads), stream_(std::move(stream)) {}

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

Buffer shared_host_memory(const std::vector<Context*>& contexts, std::int64_t bytes) {
  const auto other = std::ranges::find_if(
      contexts, [](const Context* context) { return context->device() != Device{}; });
  if (other == contexts.end()) return Buffer(bytes);
  return Buffer::pinned(bytes, (*other)->device());
}

}  // namespace stagecoach
