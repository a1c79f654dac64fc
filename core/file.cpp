#include "core/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <random>
#include <system_error>

#include "core/error.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

// What a chain of symbolic links ends at, whether that is there or not; `file` itself when it is no
// link.
fs::path behind_links(fs::path file) {
  std::error_code error;
  for (int links = 0; links < 40 && fs::is_symlink(file, error); ++links) {  // as Linux allows
    const fs::path target = fs::read_symlink(file, error);
    if (error) break;
    file = file.parent_path() / target;  // `target` alone where it is absolute
  }
  return file;
}

fs::path folder_of(const fs::path& file) {
  return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

// True when all bytes of `file` have reached the disk.
bool sync_to_disk(const fs::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  const bool synced = ::fsync(descriptor) == 0;
  ::close(descriptor);
  return synced;
}

// A pipe or a device, such as /dev/stdout: to be written to, never to be replaced by a file.
bool is_special(const fs::path& file) {
  std::error_code ignored;
  const fs::file_status status = fs::status(file, ignored);
  return fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status);
}

// No other thread, process or machine that writes the same file has it.
std::string unique_suffix() {
  static std::atomic<unsigned> count = 0;
  return fmt::format(".tmp{}-{}-{:08x}", ::getpid(), count.fetch_add(1), std::random_device{}());
}

void write_stream(const fs::path& path, const fs::path& file,
                  const std::function<void(std::ostream&)>& write) {
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  STAGECOACH_CHECK(stream.is_open(), "write_file", fmt::format("to write '{}'", file.string()),
                   std::strerror(errno));
  write(stream);
  stream.flush();
  STAGECOACH_CHECK(stream.good(), "write_file", fmt::format("to write all of '{}'", file.string()),
                   std::strerror(errno), "is the disk full?");
}

}  // namespace

void check_writable(const char* operation, const fs::path& file) {
  const fs::path target = behind_links(file), folder = folder_of(target);
  std::error_code ignored;
  if (is_special(file)) {
    STAGECOACH_CHECK(::access(file.c_str(), W_OK) == 0, operation,
                     fmt::format("to write '{}'", file.string()), std::strerror(errno));
    return;
  }
  STAGECOACH_CHECK(!fs::is_symlink(target, ignored), operation, "the name of a file",
                   fmt::format("the link '{}', which leads in a circle", file.string()));
  STAGECOACH_CHECK(fs::is_directory(folder, ignored), operation,
                   fmt::format("an existing folder for '{}'", file.string()),
                   fmt::format("no folder '{}'", folder.string()), "create it first");
  STAGECOACH_CHECK(!fs::is_directory(file, ignored), operation, "the name of a file",
                   fmt::format("the folder '{}'", file.string()));
  STAGECOACH_CHECK(::access(folder.c_str(), W_OK | X_OK) == 0, operation,
                   fmt::format("a writable folder for '{}'", file.string()), std::strerror(errno));
}

void check_different_files(const char* operation, const NamedFiles& files) {
  const auto place = [](const fs::path& file) {
    std::error_code ignored;  // what cannot be looked at is compared by its name
    const fs::path found = fs::weakly_canonical(fs::absolute(behind_links(file)), ignored);
    return found.empty() ? fs::absolute(file).lexically_normal() : found;
  };
  for (std::size_t i = 0; i < files.size(); ++i) {
    for (std::size_t j = i + 1; j < files.size(); ++j) {
      const auto& [option, file] = files[i];
      const auto& [other_option, other] = files[j];
      if (file.empty() || other.empty() || place(file) != place(other)) continue;
      throw UsageError(operation,
                       fmt::format("different files for {} and {}", option, other_option),
                       fmt::format("'{}' for both", other.string()));
    }
  }
}

void write_file(const fs::path& file, const std::function<void(std::ostream&)>& write) {
  check_writable("write_file", file);
  if (is_special(file)) return write_stream(file, file, write);
  const fs::path target = behind_links(file);
  const fs::path temporary = target.string() + unique_suffix();
  std::error_code ignored;
  try {
    write_stream(temporary, file, write);
    STAGECOACH_CHECK(sync_to_disk(temporary), "write_file",
                     fmt::format("to flush '{}' to the disk", file.string()), std::strerror(errno));
    fs::rename(temporary, target);
  } catch (const fs::filesystem_error& error) {
    fs::remove(temporary, ignored);
    throw Error("write_file", fmt::format("to rename to '{}'", file.string()),
                error.code().message());
  } catch (...) {
    fs::remove(temporary, ignored);
    throw;
  }
}

FileLock::FileLock(const fs::path& file) {
  descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  STAGECOACH_CHECK(descriptor_ >= 0, "FileLock", fmt::format("to open '{}'", file.string()),
                   std::strerror(errno));
  int status = 0;
  do {
    status = ::flock(descriptor_, LOCK_EX);
  } while (status != 0 && errno == EINTR);
  if (status == 0) return;
  const int reason = errno;
  ::close(descriptor_);
  throw Error("FileLock", fmt::format("to lock '{}'", file.string()), std::strerror(reason));
}

FileLock::~FileLock() {
  ::close(descriptor_);  // which unlocks it
}

}  // namespace stagecoach
