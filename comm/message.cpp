#include "comm/message.h"

namespace stagecoach {

void MessageWriter::put_bytes(const void* data, std::size_t count) {
  const auto* first = static_cast<const std::byte*>(data);
  bytes_.insert(bytes_.end(), first, first + count);
}

}  // namespace stagecoach
