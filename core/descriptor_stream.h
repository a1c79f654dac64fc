// DescriptorStream: an output stream over a file descriptor, which knows why a write failed.
#pragma once

#include <ostream>
#include <streambuf>
#include <vector>

namespace stagecoach {

class DescriptorStream : public std::ostream {
 public:
  // Takes the descriptor over and closes it when destroyed; what is buffered then is written, but
  // only flush() tells whether that succeeded.
  explicit DescriptorStream(int descriptor);

  int descriptor() const { return buffer_.descriptor; }
  // errno of the first write that failed; 0: none.
  int failure() const { return buffer_.failure; }

 private:
  struct Buffer : std::streambuf {
    explicit Buffer(int of) : descriptor(of), block(std::size_t{1} << 16) {}
    ~Buffer() override;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    int_type overflow(int_type character) override;
    std::streamsize xsputn(const char* data, std::streamsize bytes) override;
    int sync() override;
    bool write_all(const char* data, std::size_t bytes);

    int descriptor;
    int failure = 0;
    std::vector<char> block;
    std::size_t used = 0;  // of the block
  };

  Buffer buffer_;
};

}  // namespace stagecoach
