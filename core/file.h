// Writing files so that nothing half-written is ever left.
#pragma once

#include <filesystem>
#include <functional>
#include <iosfwd>
#include <utility>
#include <vector>

namespace stagecoach {

// Calls `write` with a stream to a temporary file beside `file`, flushes it to the disk, then
// renames it to `file`. When anything fails, the temporary file is removed, a file that was there
// before stays as it was, and an Error names `file` and the reason. Pipes and devices are written
// to directly; a symbolic link stays, and the file that it names is written.
void write_file(const std::filesystem::path& file, const std::function<void(std::ostream&)>& write);

// Throws Error (naming `operation` and `file`) unless a file could be written there: its folder
// exists and is writable, and it is not a folder itself. For checking before long work.
void check_writable(const char* operation, const std::filesystem::path& file);

// Options of a program and the files that they name. Throws UsageError (naming `operation`) when
// two of them name the same file, be it through links; empty ones name none.
using NamedFiles = std::vector<std::pair<const char*, std::filesystem::path>>;
void check_different_files(const char* operation, const NamedFiles& files);

// Held by one object at a time, of all threads and processes: the others wait when made. The file
// is made where it is not there, and stays: who removed it would let two in.
class FileLock {
 public:
  // Throws Error (with the name) when there can be no such file.
  explicit FileLock(const std::filesystem::path& file);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace stagecoach
