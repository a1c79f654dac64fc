#include "pipeline/activity.h"

#include <fmt/format.h>

#include "pipeline/span_recorder.h"

namespace stagecoach {
namespace {

constexpr std::uint64_t kSixteenBits = 0xffff;

}  // namespace

std::uint64_t activity_of(std::int64_t step, const Action& action) {
  const auto sixteen = [](int number) { return static_cast<std::uint64_t>(number) & kSixteenBits; };
  return static_cast<std::uint64_t>(step + 1) << 38 | sixteen(action.stage) << 22 |
         sixteen(action.micro_batch) << 6 | static_cast<std::uint64_t>(action.kind);
}

std::string describe_activity(std::uint64_t activity) {
  if (activity == 0) return "before its first step";
  const int micro_batch = static_cast<std::int16_t>(activity >> 6 & kSixteenBits);
  const auto kind = static_cast<ActionKind>(activity & 63);
  return fmt::format(
      "in step {}, {}", activity >> 38,
      place_of(static_cast<int>(activity >> 22 & kSixteenBits), name_of(kind), micro_batch));
}

}  // namespace stagecoach
