#include "pipeline/schedule/schedule_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>

#include "core/error.h"
#include "pipeline/schedule/csv.h"
#include "pipeline/schedule/text.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRead = "read_schedule";
constexpr std::uintmax_t kMostBytes = std::uintmax_t{1} << 30;

std::string read_all(const fs::path& file) {
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  STAGECOACH_CHECK(fs::exists(status), kRead, "an existing file",
                   fmt::format("'{}', which is none", file.string()));
  STAGECOACH_CHECK(!fs::is_directory(status), kRead, "a file",
                   fmt::format("the folder '{}'", file.string()));
  STAGECOACH_CHECK(fs::is_regular_file(status), kRead, "a regular file",
                   fmt::format("'{}', which is a device or a pipe", file.string()));
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  STAGECOACH_CHECK(stream.is_open(), kRead, fmt::format("to open '{}'", file.string()),
                   std::strerror(errno));
  const std::uintmax_t bytes = fs::file_size(file, error);
  STAGECOACH_CHECK(!error && bytes <= kMostBytes, kRead,
                   fmt::format("'{}' of at most 1 GiB", file.string()),
                   error ? error.message() : fmt::format("{} bytes", bytes));
  std::string text(bytes, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(bytes));
  STAGECOACH_CHECK(stream.gcount() == static_cast<std::streamsize>(bytes), kRead,
                   fmt::format("to read all of '{}'", file.string()), "a failure of reading");
  return text;
}

}  // namespace

Schedule read_schedule(const fs::path& file, std::vector<std::string>* notes) {
  const std::string text = read_all(file);
  const bool csv = file.extension() == ".csv";
  Schedule schedule =
      csv ? schedule_from_csv(text, file.string(), notes) : schedule_from_text(text, file.string());
  schedule.name = file.filename().string();
  return schedule;
}

}  // namespace stagecoach
