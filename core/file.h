// Files that are written: whole or not at all, and never instead of something else.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <memory>
#include <utility>
#include <vector>

#include "core/descriptor_stream.h"

namespace stagecoach {

// How a file is written, in all functions below:
// - "-" is the standard output; pipes, devices, and names of open files (/dev/stdout, /dev/fd/3)
//   are written through, as they are;
// - links are followed: the file at their end is written;
// - a file is written to a temporary one beside it, which is flushed and renamed, and so is the
//   folder. An old file's permissions stay;
// - where nothing can be renamed (the file is a mount point, its folder is not writable, or is
//   sticky and the file another user's), the old file is overwritten.

// Calls `write` with a stream. When anything fails, an Error names `file` and the reason, no
// temporary file is left, and a file that was there before stays as it was; if it was being
// overwritten, the temporary file stays and the Error names it.
void write_file(const std::filesystem::path& file, const std::function<void(std::ostream&)>& write);

// What was renamed in a folder is on the disk only when the folder is. False, with errno, where it
// cannot be flushed; a file system that flushes no folders is none of that.
bool flush_folder(const std::filesystem::path& folder);

// Throws Error (naming `operation` and `file`) unless write_file() could write `bytes` there: tries
// what it will do as far as that changes nothing, and removes temporary files of the same name
// whose writers are gone. For checking before long work.
void check_writable(const char* operation, const std::filesystem::path& file,
                    std::int64_t bytes = 0);

// For files that grow while work goes on: there is no temporary one.
// Throws Error unless open_growing() could open `file`.
void check_growable(const char* operation, const std::filesystem::path& file);
// Opens `file`, new or emptied. Throws Error naming `operation` and `file`.
std::unique_ptr<DescriptorStream> open_growing(const char* operation,
                                               const std::filesystem::path& file);

// Whether what is written there is mixed with what is printed.
bool is_standard_output(const std::filesystem::path& file);

// Options of a program and the files that they name. Throws UsageError (naming `operation`) when
// two of them name the same file, be it through links; empty ones name none.
using NamedFiles = std::vector<std::pair<const char*, std::filesystem::path>>;
void check_different_files(const char* operation, const NamedFiles& files);

// Held by one object at a time, of all threads and processes: the others wait when made. `file` may
// be a folder. A file is made where it is not there, and stays: who removed it would let two in.
// Where the file system has no locks, nobody waits.
class FileLock {
 public:
  // `waiting`: called once when another one has it. Throws Error (with the name) when there can be
  // no such file, Interrupted when a signal comes while it waits.
  explicit FileLock(
      const std::filesystem::path& file, const std::function<void()>& waiting = [] {});
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace stagecoach
