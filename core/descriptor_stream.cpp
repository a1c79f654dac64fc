#include "core/descriptor_stream.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace stagecoach {

DescriptorStream::DescriptorStream(int descriptor) : std::ostream(nullptr), buffer_(descriptor) {
  rdbuf(&buffer_);
}

DescriptorStream::Buffer::~Buffer() {
  sync();
  ::close(descriptor);
}

DescriptorStream::Buffer::int_type DescriptorStream::Buffer::overflow(int_type character) {
  if (traits_type::eq_int_type(character, traits_type::eof())) return sync() == 0 ? 0 : character;
  const char one = traits_type::to_char_type(character);
  return xsputn(&one, 1) == 1 ? character : traits_type::eof();
}

std::streamsize DescriptorStream::Buffer::xsputn(const char* data, std::streamsize bytes) {
  const auto size = static_cast<std::size_t>(bytes);
  if (used + size > block.size() && sync() != 0) return 0;
  if (size >= block.size()) return write_all(data, size) ? bytes : 0;
  std::memcpy(block.data() + used, data, size);
  used += size;
  return bytes;
}

int DescriptorStream::Buffer::sync() {
  const std::size_t bytes = used;
  used = 0;  // what could not be written is not tried again
  return write_all(block.data(), bytes) ? 0 : -1;
}

bool DescriptorStream::Buffer::write_all(const char* data, std::size_t bytes) {
  while (bytes > 0 && failure == 0) {
    const ssize_t written = ::write(descriptor, data, bytes);
    if (written < 0) {
      if (errno != EINTR) failure = errno;
      continue;
    }
    data += written;
    bytes -= static_cast<std::size_t>(written);
  }
  return failure == 0;
}

}  // namespace stagecoach
