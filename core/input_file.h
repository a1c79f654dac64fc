// Files that are read. What is wrong with one is said as it is: none, a folder, no permission.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace stagecoach {

enum class FileKind : std::uint8_t {
  kNone,
  kFile,
  kFolder,
  kOther,  // a device, a pipe, a socket
};

// As messages name a file: 'NAME'.
std::string quoted(const std::filesystem::path& file);
// Why a name may be of no file: a shell leaves "~" as it is inside quotes, and behind "=". Or "".
const char* hint_of_missing(const std::filesystem::path& file);

// What is there, behind links. Throws Error naming `operation` where that cannot be known: no
// permission, a link to itself, a name too long.
FileKind kind_of(const char* operation, const std::filesystem::path& file);

// Throws Error naming `operation` and the reason unless `file` is a file that can be opened.
void check_readable(const char* operation, const std::filesystem::path& file);

// All of a file of at most `most_bytes`, or of a pipe. Throws Error naming `operation` and `file`.
std::string read_text(const char* operation, const std::filesystem::path& file,
                      std::int64_t most_bytes);

}  // namespace stagecoach
