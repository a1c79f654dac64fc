#include "pipeline/schedule/schedule_file.h"

#include "core/error.h"
#include "core/input_file.h"
#include "pipeline/schedule/csv.h"
#include "pipeline/schedule/text.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRead = "read_schedule";
constexpr std::int64_t kMostBytes = std::int64_t{1} << 30;

}  // namespace

Schedule read_schedule(const fs::path& file, std::vector<std::string>* notes) {
  STAGECOACH_CHECK(kind_of(kRead, file) != FileKind::kOther, kRead, "a regular file",
                   fmt::format("'{}', which is a device or a pipe", file.string()));
  const std::string text = read_text(kRead, file, kMostBytes);
  const bool csv = file.extension() == ".csv";
  Schedule schedule =
      csv ? schedule_from_csv(text, file.string(), notes) : schedule_from_text(text, file.string());
  schedule.name = file.filename().string();
  return schedule;
}

}  // namespace stagecoach
