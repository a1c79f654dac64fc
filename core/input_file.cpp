#include "core/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

// Closes what it holds.
class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  ~Descriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  operator int() const { return descriptor_; }

 private:
  int descriptor_;
};

int open_to_read(const char* operation, const fs::path& file) {
  const FileKind kind = kind_of(operation, file);
  if (kind == FileKind::kNone) {
    throw Error(operation, fmt::format("the file {}", quoted(file)), "no such file",
                hint_of_missing(file));
  }
  STAGECOACH_CHECK(kind != FileKind::kFolder, operation, "a file",
                   fmt::format("the folder {}", quoted(file)));
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_NOCTTY | O_CLOEXEC);
  STAGECOACH_CHECK(descriptor >= 0, operation, fmt::format("to read {}", quoted(file)),
                   std::strerror(errno));
  return descriptor;
}

}  // namespace

std::string quoted(const fs::path& file) {
  return fmt::format("'{}'", file.string());
}

const char* hint_of_missing(const fs::path& file) {
  return file.string().starts_with("~") ? "a shell replaces ~ only at the beginning of a word and "
                                          "without quotes"
                                        : "";
}

FileKind kind_of(const char* operation, const fs::path& file) {
  struct stat found {};
  if (::stat(file.c_str(), &found) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return FileKind::kNone;
    throw Error(operation, fmt::format("to look at {}", quoted(file)), std::strerror(errno));
  }
  if (S_ISREG(found.st_mode)) return FileKind::kFile;
  return S_ISDIR(found.st_mode) ? FileKind::kFolder : FileKind::kOther;
}

void check_readable(const char* operation, const fs::path& file) {
  const Descriptor descriptor(open_to_read(operation, file));
}

std::string read_text(const char* operation, const fs::path& file, std::int64_t most_bytes) {
  const Descriptor descriptor(open_to_read(operation, file));
  struct stat found {};
  if (::fstat(descriptor, &found) == 0) {  // 0 for what is no file
    STAGECOACH_CHECK(found.st_size <= most_bytes, operation,
                     fmt::format("{} of at most {} bytes", quoted(file), most_bytes),
                     fmt::format("{} bytes", found.st_size));
  }
  std::string text(static_cast<std::size_t>(found.st_size), '\0');
  std::size_t used = 0;
  for (;;) {
    // A file may grow, and a pipe has no size.
    if (used == text.size()) text.resize(used + std::max<std::size_t>(used / 2, 4096));
    const ssize_t bytes = ::read(descriptor, text.data() + used, text.size() - used);
    if (bytes < 0 && errno == EINTR) continue;
    STAGECOACH_CHECK(bytes >= 0, operation, fmt::format("to read {}", quoted(file)),
                     std::strerror(errno));
    if (bytes == 0) break;
    used += static_cast<std::size_t>(bytes);
    STAGECOACH_CHECK(static_cast<std::int64_t>(used) <= most_bytes, operation,
                     fmt::format("{} of at most {} bytes", quoted(file), most_bytes), "more");
  }
  text.resize(used);
  return text;
}

}  // namespace stagecoach
