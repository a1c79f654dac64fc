#include "pipeline/schedule/table_reader.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace stagecoach {
namespace {

constexpr const char* kRead = "read_schedule";
constexpr std::string_view kDigits = "0123456789";

// A line ends with LF, CR LF, or CR alone, as spreadsheets write for the old Macintosh.
std::string_view take_line(std::string_view& rest) {
  const std::size_t end = std::min(rest.find_first_of("\r\n"), rest.size());
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(end);
  rest.remove_prefix(rest.starts_with("\r\n") ? 2 : std::min<std::size_t>(1, rest.size()));
  return line;
}

}  // namespace

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
}

std::string shown(std::string_view word) {
  constexpr std::size_t kMost = 40;
  std::string text = "'";
  for (const char c : word.substr(0, kMost)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f) {
      text += fmt::format("\\x{:02x}", byte);
    } else {
      text += c;
    }
  }
  return text + (word.size() > kMost ? "...'" : "'");
}

std::string_view take(std::string_view& rest, char separator) {
  const std::size_t end = std::min(rest.find(separator), rest.size());
  const std::string_view taken = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return taken;
}

Schedule TableReader::read(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  for (line_ = 1; !text.empty(); ++line_) read_line(take_line(text));
  STAGECOACH_CHECK(!schedule_.ranks.empty(), kRead, "a line of actions for every rank",
                   fmt::format("{}, with none", file_));
  count();
  schedule_.name = file_;
  return std::move(schedule_);
}

void TableReader::begin_rank() {
  schedule_.ranks.emplace_back();
  schedule_.lines.push_back(line_);
  word_ = 0;
}

void TableReader::end_rank(std::string_view hint) const {
  STAGECOACH_CHECK(!schedule_.ranks.back().empty(), kRead,
                   fmt::format("an action for rank {}", schedule_.ranks.size() - 1),
                   fmt::format("{}, line {}, without one", file_, line_), std::string(hint));
}

std::optional<Action> TableReader::action_of(std::string_view word) {
  const std::size_t kind_at = std::min(word.find_first_not_of(kDigits), word.size());
  const std::size_t micro_at = word.find_last_not_of(kDigits) + 1;  // 0 when there are digits only
  if (kind_at == 0 || micro_at <= kind_at) {
    fail("an action, a stage, a kind and a micro-batch such as 0F3", word);
  }
  const std::string_view name = word.substr(kind_at, micro_at - kind_at);
  const std::optional<ActionKind> kind = kind_of(name, word);
  const int stage = number(word.substr(0, kind_at), word);
  const bool has_micro_batch = micro_at < word.size();
  const int micro_batch = has_micro_batch ? number(word.substr(micro_at), word) : -1;
  if (!kind) return {};
  if (is_per_stage(*kind)) {
    if (has_micro_batch) check_stage_action(*kind, word);
    return Action{*kind, stage, -1};
  }
  if (!has_micro_batch) fail(fmt::format("a micro-batch after {}", name), word);
  return Action{*kind, stage, micro_batch};
}

void TableReader::fail(std::string expected, std::string_view word, std::string hint) const {
  throw Error(kRead, std::move(expected),
              fmt::format("{}, line {}, rank {}, {} {}: {}", file_, line_,
                          schedule_.ranks.size() - 1, unit_, word_, shown(word)),
              std::move(hint));
}

int TableReader::number(std::string_view digits, std::string_view word) const {
  int value = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  // The largest one is left out, so that one more than a number is an int too.
  if (result.ec != std::errc() || value == std::numeric_limits<int>::max()) {
    fail(fmt::format("a number below {}", std::numeric_limits<int>::max()), word);
  }
  return value;
}

// Counts stages and micro-batches.
void TableReader::count() {
  std::int64_t actions = 0;
  for (const auto& rank : schedule_.ranks) {
    actions += static_cast<std::int64_t>(rank.size());
    for (const Action& action : rank) {
      schedule_.stages = std::max(schedule_.stages, action.stage + 1);
      schedule_.micro_batches = std::max(schedule_.micro_batches, action.micro_batch + 1);
    }
  }
  const std::int64_t pairs = std::int64_t{schedule_.stages} * schedule_.micro_batches;
  if (pairs <= actions) return;
  const std::string last_stage = first_place(&Action::stage, schedule_.stages - 1);
  const std::string last_micro = first_place(&Action::micro_batch, schedule_.micro_batches - 1);
  throw Error(
      kRead,
      fmt::format("at least {} actions, an F of each of {} micro-batches on each of {} "
                  "stages",
                  pairs, schedule_.micro_batches, schedule_.stages),
      fmt::format("{}, with {}", file_, actions),
      fmt::format("are its highest numbers right? Stage {} in {}; micro-batch {} in {}",
                  schedule_.stages - 1, last_stage, schedule_.micro_batches - 1, last_micro));
}

std::string TableReader::first_place(int Action::*number, int value) const {
  for (std::size_t rank = 0; rank < schedule_.ranks.size(); ++rank) {
    const std::vector<Action>& actions = schedule_.ranks[rank];
    const auto found = std::ranges::find(actions, value, number);
    if (found == actions.end()) continue;
    return fmt::format("line {}, rank {}, position {}: {}", schedule_.lines[rank], rank,
                       found - actions.begin(), found->to_string());
  }
  return "no line";
}

}  // namespace stagecoach
