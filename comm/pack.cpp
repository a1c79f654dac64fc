#include "comm/pack.h"

namespace stagecoach {

void Packer::put_bytes(const void* data, std::size_t count) {
  const auto* first = static_cast<const std::byte*>(data);
  bytes_.insert(bytes_.end(), first, first + count);
}

}  // namespace stagecoach
