#include "core/temporary.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <string>

#include "core/error.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLongestName = 255;  // of a file, in bytes: NAME_MAX
constexpr std::size_t kDigits = 12;

// What all temporary names for `target` begin with.
std::string prefix_of(const fs::path& target) {
  constexpr std::string_view kMark = ".tmp-";
  std::string name = fmt::format(".{}", target.filename().string());
  name.resize(std::min(name.size(), kLongestName - kMark.size() - kDigits));
  return name.append(kMark);
}

fs::path folder_of(const fs::path& target) {
  return target.has_parent_path() ? target.parent_path() : fs::path(".");
}

std::string random_digits() {
  thread_local std::random_device device;
  const std::uint64_t bits = std::uint64_t{device()} << 32 | device();
  return fmt::format("{:016x}", bits).substr(0, kDigits);
}

// Whether `descriptor` is still what `path` names: whoever cleans up may have been faster.
bool is_named(int descriptor, const fs::path& path) {
  struct stat open {
  }, named{};
  return ::fstat(descriptor, &open) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         open.st_ino == named.st_ino && open.st_dev == named.st_dev;
}

// Tries names until make(path) gives a descriptor, and locks that.
template <typename Make>
int make_locked(const fs::path& target, fs::path& path, const Make& make) {
  for (;;) {
    path = folder_of(target) / (prefix_of(target) + random_digits());
    const int descriptor = make(path);
    if (descriptor < 0 && errno == EEXIST) continue;
    STAGECOACH_CHECK(
        descriptor >= 0, "temporary file",
        fmt::format("to make one for '{}' in '{}'", target.string(), folder_of(target).string()),
        std::strerror(errno));
    // Where the file system has no locks, nobody cleans up either.
    if (::flock(descriptor, LOCK_EX) != 0 || is_named(descriptor, path)) return descriptor;
    ::close(descriptor);
  }
}

}  // namespace

TemporaryFile::TemporaryFile(const fs::path& target) {
  descriptor_ = make_locked(target, path_, [](const fs::path& path) {
    return ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  });
}

TemporaryFile::~TemporaryFile() {
  if (!kept_) ::unlink(path_.c_str());
  ::close(descriptor_);
}

TemporaryFolder::TemporaryFolder(const fs::path& target) {
  descriptor_ = make_locked(target, path_, [](const fs::path& path) {
    if (::mkdir(path.c_str(), 0777) != 0) return -1;
    return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  });
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  if (!kept_) fs::remove_all(path_, ignored);
  ::close(descriptor_);
}

void remove_abandoned(const fs::path& target) {
  const std::string prefix = prefix_of(target);
  std::error_code error;
  for (fs::directory_iterator it(folder_of(target), error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(prefix) || name.size() != prefix.size() + kDigits) continue;
    // A pipe of that name would block, a link lead elsewhere: neither is ours.
    const int descriptor =
        ::open(it->path().c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0) continue;
    std::error_code ignored;
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) fs::remove_all(it->path(), ignored);
    ::close(descriptor);
  }
}

}  // namespace stagecoach
