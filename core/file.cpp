#include "core/file.h"

#include <fcntl.h>
#include <linux/stat.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <thread>

#include "core/error.h"
#include "core/input_file.h"
#include "core/interrupt.h"
#include "core/temporary.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWrite = "write_file";

enum class Way : std::uint8_t {
  kThrough,    // written to as it is
  kReplace,    // a temporary file takes its place
  kOverwrite,  // only its content can be changed
};

// Where a name leads, and what can be done there.
struct Place {
  Way way = Way::kReplace;
  fs::path target;      // behind all links
  int descriptor = -1;  // of kThrough: an open file of this process, if it is one
  bool exists = false;
  bool folder_writable = true;
};

fs::path folder_of(const fs::path& file) {
  return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

// N for /proc/self/fd/N by any of its names, as /dev/stdout leads to; -1 for anything else.
int open_file_of(const fs::path& file) {
  std::error_code error;
  const fs::path open_files = fs::canonical("/proc/self/fd", error);
  if (error || fs::canonical(folder_of(file), error) != open_files || error) return -1;
  const std::string name = file.filename().string();
  if (name.empty() || name.size() > 6 || name.find_first_not_of("0123456789") != name.npos) {
    return -1;
  }
  return std::stoi(name);
}

// Follows links until there is none, or an open file of this process.
Place follow_links(const char* operation, const fs::path& file) {
  Place place;
  place.target = file;
  if (file == "-") {
    place.way = Way::kThrough;
    place.descriptor = STDOUT_FILENO;
    return place;
  }
  for (int links = 0; links < 40; ++links) {  // as Linux allows
    place.descriptor = open_file_of(place.target);
    if (place.descriptor >= 0) {
      place.way = Way::kThrough;
      return place;
    }
    std::error_code error;
    const fs::path next = fs::read_symlink(place.target, error);
    if (error) return place;                           // no link
    place.target = place.target.parent_path() / next;  // `next` alone where it is absolute
  }
  throw Error(operation, "the name of a file",
              fmt::format("the link {}, which leads in a circle", quoted(file)));
}

// Mounted there: a container's volume of a single file. Such a name cannot be given to another
// file.
bool is_mount_point(const fs::path& file) {
  struct statx found {};
  return ::statx(AT_FDCWD, file.c_str(), AT_SYMLINK_NOFOLLOW, STATX_TYPE, &found) == 0 &&
         (found.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0 &&
         (found.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

// In a sticky folder, such as /tmp, only its owner may rename over a file.
bool is_kept_by_sticky_folder(const struct stat& file, const struct stat& folder) {
  return (folder.st_mode & S_ISVTX) != 0 && ::geteuid() != 0 && file.st_uid != ::geteuid() &&
         folder.st_uid != ::geteuid();
}

void check_access(const char* operation, const fs::path& file) {
  STAGECOACH_CHECK(::access(file.c_str(), W_OK) == 0, operation,
                   fmt::format("to write {}", quoted(file)), std::strerror(errno));
}

void check_open_file(const char* operation, const fs::path& file, int descriptor) {
  const int flags = ::fcntl(descriptor, F_GETFL);
  STAGECOACH_CHECK(flags >= 0, operation, fmt::format("the open file {}", quoted(file)),
                   std::strerror(errno));
  STAGECOACH_CHECK((flags & O_ACCMODE) != O_RDONLY, operation,
                   fmt::format("to write {}", quoted(file)), "a file that is open for reading");
}

// What can be done at `file`; throws Error where it is nothing.
Place place_of(const char* operation, const fs::path& file) {
  Place place = follow_links(operation, file);
  if (place.descriptor >= 0) {
    check_open_file(operation, file, place.descriptor);
    return place;
  }
  struct stat found {
  }, folder{};
  place.exists = ::stat(place.target.c_str(), &found) == 0;
  const int reason = place.exists ? 0 : errno;
  const fs::path parent = folder_of(place.target);
  const bool has_folder = ::stat(parent.c_str(), &folder) == 0;
  STAGECOACH_CHECK(has_folder || errno != ENOENT, operation,
                   fmt::format("an existing folder for {}", quoted(file)),
                   fmt::format("no folder {}", quoted(parent)),
                   *hint_of_missing(file) != 0 ? hint_of_missing(file) : "create it first");
  STAGECOACH_CHECK(has_folder, operation,
                   fmt::format("to reach the folder {} for {}", quoted(parent), quoted(file)),
                   std::strerror(errno));
  STAGECOACH_CHECK(S_ISDIR(folder.st_mode), operation,
                   fmt::format("an existing folder for {}", quoted(file)),
                   fmt::format("{}, which is a file", quoted(parent)));
  STAGECOACH_CHECK(place.exists || reason == ENOENT, operation,
                   fmt::format("to write {}", quoted(file)), std::strerror(reason));
  STAGECOACH_CHECK(!place.exists || !S_ISDIR(found.st_mode), operation, "the name of a file",
                   fmt::format("the folder {}", quoted(file)));
  if (place.exists) check_access(operation, place.target);
  if (place.exists && !S_ISREG(found.st_mode)) {
    place.way = Way::kThrough;
    return place;
  }
  place.folder_writable = ::access(parent.c_str(), W_OK | X_OK) == 0;
  STAGECOACH_CHECK(place.folder_writable || place.exists, operation,
                   fmt::format("a writable folder for {}", quoted(file)), std::strerror(errno));
  if (place.exists && (!place.folder_writable || is_mount_point(place.target) ||
                       is_kept_by_sticky_folder(found, folder))) {
    place.way = Way::kOverwrite;
  }
  return place;
}

// The file as it is, emptied if it is one that can be.
int open_as_it_is(const char* operation, const fs::path& file, const Place& place) {
  const int descriptor =
      place.descriptor >= 0
          ? ::fcntl(place.descriptor, F_DUPFD_CLOEXEC, 0)
          : ::open(place.target.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOCTTY | O_CLOEXEC, 0666);
  STAGECOACH_CHECK(descriptor >= 0, operation, fmt::format("to write {}", quoted(file)),
                   std::strerror(errno));
  return descriptor;
}

void write_stream(int descriptor, const fs::path& file,
                  const std::function<void(std::ostream&)>& write) {
  DescriptorStream stream(descriptor);
  write(stream);
  stream.flush();
  if (stream.good()) return;
  const bool full = stream.failure() == ENOSPC || stream.failure() == EDQUOT;
  throw Error(kWrite, fmt::format("to write all of {}", quoted(file)),
              stream.failure() != 0 ? std::strerror(stream.failure()) : "a failure of its writer",
              full ? "the disk is full" : "");
}

// What was printed before comes first.
void write_through(const fs::path& file, const Place& place,
                   const std::function<void(std::ostream&)>& write) {
  if (place.descriptor == STDOUT_FILENO) std::fflush(stdout);
  write_stream(open_as_it_is(kWrite, file, place), file, write);
}

void flush_to_disk(int descriptor, const fs::path& file) {
  STAGECOACH_CHECK(::fsync(descriptor) == 0, kWrite,
                   fmt::format("to flush {} to the disk", quoted(file)), std::strerror(errno));
}

// The permissions and, where this process may, the owner of the file that is replaced.
void take_permissions(int descriptor, const fs::path& old) {
  struct stat found {};
  if (::stat(old.c_str(), &found) != 0) return;
  if (::fchown(descriptor, found.st_uid, found.st_gid) != 0 && errno != EPERM) return;
  (void)::fchmod(descriptor, found.st_mode & 07777);
}

void copy_to(std::ostream& out, int from) {
  std::array<char, std::size_t{1} << 16> block;
  off_t offset = 0;
  for (ssize_t bytes = 0; (bytes = ::pread(from, block.data(), block.size(), offset)) > 0;) {
    out.write(block.data(), bytes);
    offset += bytes;
  }
}

// The content of the temporary file takes the place of the old one.
void overwrite(const fs::path& file, const Place& place, TemporaryFile& temporary) {
  try {
    const int descriptor = open_as_it_is(kWrite, file, place);
    write_stream(descriptor, file, [&](std::ostream& out) {
      copy_to(out, temporary.descriptor());
      out.flush();
      if (out.good()) flush_to_disk(descriptor, file);
    });
  } catch (Error& error) {
    temporary.keep();
    throw Error(kWrite, fmt::format("to overwrite {}", quoted(file)), error.message(),
                fmt::format("all of it is in {}", quoted(temporary.path())));
  }
}

void replace(const fs::path& file, const Place& place,
             const std::function<void(std::ostream&)>& write) {
  TemporaryFile temporary(place.target);
  write_stream(::fcntl(temporary.descriptor(), F_DUPFD_CLOEXEC, 0), file, write);
  flush_to_disk(temporary.descriptor(), file);
  if (place.way == Way::kReplace) {
    if (place.exists) take_permissions(temporary.descriptor(), place.target);
    if (::rename(temporary.path().c_str(), place.target.c_str()) == 0) {
      temporary.keep();
      (void)flush_folder(folder_of(place.target));  // of one that may not be read it cannot be
      return;
    }
  }
  overwrite(file, place, temporary);
}

}  // namespace

bool flush_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return false;
  const bool flushed = ::fsync(descriptor) == 0 || errno == EINVAL;
  const int reason = errno;
  ::close(descriptor);
  errno = reason;
  return flushed;
}

void write_file(const fs::path& file, const std::function<void(std::ostream&)>& write) {
  const Place place = place_of(kWrite, file);
  if (place.way == Way::kThrough) return write_through(file, place, write);
  if (place.folder_writable) return replace(file, place, write);
  write_stream(open_as_it_is(kWrite, file, place), file, write);
}

void check_writable(const char* operation, const fs::path& file, std::int64_t bytes) {
  const Place place = place_of(operation, file);
  if (place.way == Way::kThrough) return;
  if (place.folder_writable) {
    remove_abandoned(place.target);
    try {
      const TemporaryFile trial(place.target);
    } catch (Error& error) {
      error.add_where(operation);
      throw;
    }
  }
  struct statvfs disk {};
  if (::statvfs(folder_of(place.target).c_str(), &disk) != 0) return;
  const auto free = static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize);
  STAGECOACH_CHECK(
      static_cast<double>(bytes) <= free, operation,
      fmt::format("{:.1f} MB free for {}", static_cast<double>(bytes) * 1e-6, quoted(file)),
      fmt::format("{:.1f} MB", free * 1e-6), "the disk is full");
}

void check_growable(const char* operation, const fs::path& file) {
  const Place place = place_of(operation, file);
  if (place.exists || place.way == Way::kThrough) return;
  check_writable(operation, file);
}

std::unique_ptr<DescriptorStream> open_growing(const char* operation, const fs::path& file) {
  const Place place = place_of(operation, file);
  return std::make_unique<DescriptorStream>(open_as_it_is(operation, file, place));
}

bool is_standard_output(const fs::path& file) {
  return !file.empty() && follow_links(kWrite, file).descriptor == STDOUT_FILENO;
}

void check_different_files(const char* operation, const NamedFiles& files) {
  const auto place_of_name = [&](const fs::path& file) {
    const Place place = follow_links(operation, file);
    if (place.descriptor >= 0) return fs::path(fmt::format("open file {}", place.descriptor));
    std::error_code ignored;  // what cannot be looked at is compared by its name
    const fs::path found = fs::weakly_canonical(fs::absolute(place.target), ignored);
    return found.empty() ? fs::absolute(file).lexically_normal() : found;
  };
  for (std::size_t i = 0; i < files.size(); ++i) {
    for (std::size_t j = i + 1; j < files.size(); ++j) {
      const auto& [option, file] = files[i];
      const auto& [other_option, other] = files[j];
      if (file.empty() || other.empty() || place_of_name(file) != place_of_name(other)) continue;
      throw UsageError(operation,
                       fmt::format("different files for {} and {}", option, other_option),
                       fmt::format("'{}' for both", other.string()));
    }
  }
}

FileLock::FileLock(const fs::path& file, const std::function<void()>& waiting) {
  descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0 && errno == EISDIR) {
    descriptor_ = ::open(file.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  }
  STAGECOACH_CHECK(descriptor_ >= 0, "FileLock", fmt::format("to open {}", quoted(file)),
                   std::strerror(errno));
  // Asked again and again, so that a signal can end it.
  for (bool first = true; ::flock(descriptor_, LOCK_EX | LOCK_NB) != 0; first = false) {
    if (errno != EWOULDBLOCK && errno != EINTR) return;
    if (first) waiting();
    if (interrupt_signal() != 0) {
      ::close(descriptor_);
      check_interrupt("FileLock");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

FileLock::~FileLock() {
  ::close(descriptor_);  // which unlocks it
}

}  // namespace stagecoach
