#include "pipeline/schedule/schedule_text.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace stagecoach {
namespace {

using enum ActionKind;
namespace fs = std::filesystem;

constexpr const char* kRead = "read_schedule";
constexpr std::uintmax_t kMostBytes = std::uintmax_t{1} << 30;
constexpr std::string_view kBlanks = " \t\r";
constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kOverlap = "OVERLAP_F_B";

struct CsvKind {
  std::string_view name;
  std::optional<ActionKind> kind;  // none: left out
};
constexpr CsvKind kCsvKinds[] = {
    {"F", kForward},
    {"I", kBackwardInput},
    {"W", kBackwardWeight},
    {"B", kBackward},
    {"SEND_F", kSendActivation},
    {"RECV_F", kReceiveActivation},
    {"SEND_B", kSendGradient},
    {"RECV_B", kReceiveGradient},
    {"REDUCE_GRAD", kReduceGradient},
    {"UNSHARD", {}},
    {"RESHARD", {}},
    {"WAIT_SEND_F", {}},
    {"WAIT_SEND_B", {}},
    {"WAIT_REDUCE_GRAD", {}},
};

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
}

// For a message: quoted, bytes that cannot be shown as \xNN, and not endless.
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

// Removes what comes before the first `separator` from `rest`, and it, and returns the former.
std::string_view take(std::string_view& rest, char separator) {
  const std::size_t end = std::min(rest.find(separator), rest.size());
  const std::string_view taken = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return taken;
}

// What both forms share: where the reader is, and actions "0F3".
class Reader {
 public:
  Reader(std::string file, const char* unit) : file_(std::move(file)), unit_(unit) {}
  virtual ~Reader() = default;
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  Schedule read(std::string_view text, std::string name) {
    constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    for (line_ = 1; !text.empty(); ++line_) read_line(take(text, '\n'));
    STAGECOACH_CHECK(!schedule_.ranks.empty(), kRead, "a line of actions for every rank",
                     fmt::format("{}, with none", file_));
    count();
    schedule_.name = std::move(name);
    return std::move(schedule_);
  }

  virtual void add_notes(std::vector<std::string>& /*notes*/) const {}

 protected:
  virtual void read_line(std::string_view line) = 0;
  // The kind of that name, or none for what is left out; fails for a name that is none.
  virtual std::optional<ActionKind> kind_of(std::string_view name, std::string_view word) = 0;

  std::vector<Action>& actions() { return schedule_.ranks.back(); }

  void begin_rank() {
    schedule_.ranks.emplace_back();
    schedule_.lines.push_back(line_);
    word_ = 0;
  }
  void next_word() { ++word_; }
  void end_rank(std::string_view hint = "") const {
    STAGECOACH_CHECK(!schedule_.ranks.back().empty(), kRead,
                     fmt::format("an action for rank {}", schedule_.ranks.size() - 1),
                     fmt::format("{}, line {}, without one", file_, line_), std::string(hint));
  }

  // The action in `word`, unless its kind is left out.
  std::optional<Action> action_of(std::string_view word) {
    const std::size_t kind_at = std::min(word.find_first_not_of(kDigits), word.size());
    const std::size_t micro_at =
        word.find_last_not_of(kDigits) + 1;  // 0 when there are digits only
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

  // Fails where the form has no micro-batch for this kind.
  virtual void check_stage_action(ActionKind, std::string_view) {}

  [[noreturn]] void fail(std::string expected, std::string_view word, std::string hint = "") const {
    throw Error(kRead, std::move(expected),
                fmt::format("{}, line {}, rank {}, {} {}: {}", file_, line_,
                            schedule_.ranks.size() - 1, unit_, word_, shown(word)),
                std::move(hint));
  }

  const std::string& file() const { return file_; }
  int line() const { return line_; }
  int next_rank() const { return static_cast<int>(schedule_.ranks.size()); }

 private:
  int number(std::string_view digits, std::string_view word) const {
    int value = 0;
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    // The largest one is left out, so that one more than a number is an int too.
    if (result.ec != std::errc() || value == std::numeric_limits<int>::max()) {
      fail(fmt::format("a number below {}", std::numeric_limits<int>::max()), word);
    }
    return value;
  }

  // Counts stages and micro-batches.
  void count() {
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

  std::string first_place(int Action::*number, int value) const {
    for (std::size_t rank = 0; rank < schedule_.ranks.size(); ++rank) {
      const std::vector<Action>& actions = schedule_.ranks[rank];
      const auto found = std::ranges::find(actions, value, number);
      if (found == actions.end()) continue;
      return fmt::format("line {}, rank {}, position {}: {}", schedule_.lines[rank], rank,
                         found - actions.begin(), found->to_string());
    }
    return "no line";
  }

  std::string file_;
  const char* unit_;
  Schedule schedule_;
  int line_ = 0;
  std::size_t word_ = 0;  // of the line, from 1
};

class TextReader : public Reader {
 public:
  explicit TextReader(std::string file) : Reader(std::move(file), "word") {}

 private:
  void read_line(std::string_view line) override {
    line = trimmed(take(line, '#'));
    if (line.empty()) return;
    const int rank = next_rank();
    begin_rank();
    if (line.starts_with("rank")) line = without_label(line, rank);
    while (!(line = trimmed(line)).empty()) {
      next_word();
      const std::size_t end = std::min(line.find_first_of(kBlanks), line.size());
      actions().push_back(*action_of(line.substr(0, end)));
      line.remove_prefix(end);
    }
    end_rank();
  }

  std::string_view without_label(std::string_view line, int rank) const {
    const std::size_t colon = line.find(':');
    const std::string_view label = line.substr(0, colon);
    const std::string_view digits = trimmed(label.substr(std::string_view("rank").size()));
    STAGECOACH_CHECK(colon != std::string_view::npos && digits == std::to_string(rank), kRead,
                     fmt::format("'rank {}:' or its first action", rank),
                     fmt::format("{}, line {}: {}", file(), this->line(), shown(line)),
                     "ranks come in order, from 0, each on one line");
    return line.substr(colon + 1);
  }

  std::optional<ActionKind> kind_of(std::string_view name, std::string_view word) override {
    std::string known;
    for (int kind = 0; kind < kActionKinds; ++kind) {
      if (name_of(static_cast<ActionKind>(kind)) == name) return static_cast<ActionKind>(kind);
    }
    for (int kind = 0; kind < kActionKinds; ++kind) {
      known += fmt::format("{}{}", kind > 0 ? ", " : "", name_of(static_cast<ActionKind>(kind)));
    }
    fail("a kind among " + known, word,
         name == "I" ? "PyTorch's I is B here, and its B is BW: end the file's name in .csv" : "");
  }

  void check_stage_action(ActionKind kind, std::string_view word) override {
    fail(fmt::format("no micro-batch after {}", name_of(kind)), word);
  }
};

class CsvReader : public Reader {
 public:
  explicit CsvReader(std::string file) : Reader(std::move(file), "cell") {}

  void add_notes(std::vector<std::string>& notes) const override {
    const auto note = [&](std::initializer_list<std::string_view> names, const char* reason) {
      std::string text;
      for (const std::string_view name : names) {
        const std::size_t count = left_out_[kind_named(name) - std::begin(kCsvKinds)];
        if (count == 0) continue;
        text += fmt::format("{}{} {}", text.empty() ? "" : " and ", count, name);
      }
      if (!text.empty()) notes.push_back(text + " do nothing here: " + reason);
    };
    note({"UNSHARD", "RESHARD"}, "weights are not sharded");
    note({"WAIT_SEND_F", "WAIT_SEND_B"}, "a buffer is free once its message has been read");
    note({"WAIT_REDUCE_GRAD"}, "nothing runs beside REDUCE_GRAD");
    if (overlaps_ > 0) {
      notes.push_back(fmt::format("{} {} run one part after the other", overlaps_, kOverlap));
    }
  }

 private:
  static const CsvKind* kind_named(std::string_view name) {
    return std::ranges::find(kCsvKinds, name, &CsvKind::name);
  }

  void read_line(std::string_view line) override {
    begin_rank();
    overlap_begin_ = overlap_end_ = 0;
    while (!line.empty()) {
      next_word();
      read_cell(trimmed(take(line, ',')));
    }
    end_rank("every line is a rank; remove it if it is none");
  }

  void read_cell(std::string_view cell) {
    if (cell.size() >= 2 && cell.front() == '"' && cell.back() == '"') {
      cell = trimmed(cell.substr(1, cell.size() - 2));
    }
    if (cell.empty()) return;
    if (cell.front() == '(') return read_overlap(cell);
    const std::optional<Action> action = action_of(cell);
    if (action) add(*action);
  }

  void read_overlap(std::string_view cell) {
    const std::size_t close = cell.find(')');
    if (close == std::string_view::npos || cell.substr(close + 1) != kOverlap) {
      fail("(0F1;1B0)OVERLAP_F_B after '('", cell);
    }
    std::string_view parts = cell.substr(1, close - 1);
    const std::size_t begin = actions().size();
    while (!parts.empty()) {
      const std::optional<Action> part = action_of(trimmed(take(parts, ';')));
      if (!part || !is_compute(part->kind)) fail("F, I, W or B in OVERLAP_F_B", cell);
      actions().push_back(*part);
    }
    if (actions().size() == begin) fail("an action in OVERLAP_F_B", cell);
    overlap_begin_ = begin;
    overlap_end_ = actions().size();
    ++overlaps_;
  }

  // A send right behind an OVERLAP_F_B goes behind the part that makes its message: the runtime
  // that overlaps both would let it wait for neither part, and with_communication() places it
  // there.
  void add(const Action& action) {
    std::vector<Action>& all = actions();
    if (is_compute(action.kind)) overlap_begin_ = overlap_end_ = 0;
    for (std::size_t at = overlap_begin_; at < overlap_end_; ++at) {
      if (!makes(all[at], action)) continue;
      all.insert(all.begin() + static_cast<std::ptrdiff_t>(at) + 1, action);
      ++overlap_end_;
      return;
    }
    all.push_back(action);
  }

  static bool makes(const Action& part, const Action& send) {
    if (part.stage != send.stage || part.micro_batch != send.micro_batch) return false;
    if (send.kind == kSendActivation) return part.kind == kForward;
    return send.kind == kSendGradient && (part.kind == kBackwardInput || part.kind == kBackward);
  }

  std::optional<ActionKind> kind_of(std::string_view name, std::string_view word) override {
    const CsvKind* found = kind_named(name);
    if (found == std::end(kCsvKinds)) {
      std::string known;
      for (const CsvKind& kind : kCsvKinds) known += fmt::format("{}, ", kind.name);
      fail(fmt::format("a kind among {}{}", known, kOverlap), word);
    }
    if (!found->kind) ++left_out_[found - std::begin(kCsvKinds)];
    return found->kind;
  }

  std::array<std::size_t, std::size(kCsvKinds)> left_out_{};  // by kind
  std::size_t overlaps_ = 0;
  std::size_t overlap_begin_ = 0, overlap_end_ = 0;  // the rank's last one, if nothing ran since
};

Schedule read_by(Reader&& reader, std::string_view text, std::string name,
                 std::vector<std::string>* notes) {
  Schedule schedule = reader.read(text, std::move(name));
  if (notes != nullptr) reader.add_notes(*notes);
  return schedule;
}

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

void append_cell(std::string& row, const Action& action, std::string_view name) {
  if (!row.empty()) row += ',';
  row += std::to_string(action.stage);
  row += name;
  if (action.micro_batch >= 0) row += std::to_string(action.micro_batch);
}

// One line of PyTorch's form.
class CsvRow {
 public:
  CsvRow(const Schedule& schedule, bool communicates)
      : micro_batches_(schedule.micro_batches),
        communicates_(communicates),
        gradients_(static_cast<std::size_t>(schedule.stages), 0) {}

  std::string of(const std::vector<Action>& actions) {
    for (const Action& action : actions) add(action);
    for (const Action& send : sent_) wait_for(send);
    return std::move(row_) + '\n';
  }

 private:
  void add(const Action& action) {
    if (is_per_stage(action.kind)) return;
    const auto* kind = std::ranges::find(kCsvKinds, std::optional(action.kind), &CsvKind::kind);
    append_cell(row_, action, kind->name);
    if (!communicates_) return;
    if (action.kind == kSendActivation || action.kind == kSendGradient) sent_.push_back(action);
    if (action.kind == kBackwardWeight || action.kind == kBackward) {
      if (++gradients_[action.stage] < micro_batches_) return;
      const Action reduce{kReduceGradient, action.stage, -1};
      append_cell(row_, reduce, "REDUCE_GRAD");
      append_cell(row_, reduce, "WAIT_REDUCE_GRAD");
    }
  }

  void wait_for(const Action& send) {
    append_cell(row_, send, send.kind == kSendActivation ? "WAIT_SEND_F" : "WAIT_SEND_B");
  }

  int micro_batches_;
  bool communicates_;
  std::vector<int> gradients_;  // by stage: micro-batches that have had their W
  std::vector<Action> sent_;
  std::string row_;
};

}  // namespace

Schedule read_schedule(const fs::path& file, std::vector<std::string>* notes) {
  const std::string text = read_all(file);
  const std::string name = file.filename().string();
  if (file.extension() == ".csv") return read_by(CsvReader(file.string()), text, name, notes);
  return read_by(TextReader(file.string()), text, name, notes);
}

Schedule schedule_from_text(std::string_view text, const std::string& name) {
  return read_by(TextReader(name), text, name, nullptr);
}

Schedule schedule_from_csv(std::string_view text, const std::string& name,
                           std::vector<std::string>* notes) {
  return read_by(CsvReader(name), text, name, notes);
}

std::string to_csv(const Schedule& schedule) {
  STAGECOACH_CHECK(is_training(schedule), "to_csv", "a schedule that trains",
                   fmt::format("'{}', forward-only", schedule.name), "PyTorch loads no other");
  for (const std::vector<Action>& actions : schedule.ranks) {
    const auto found = std::ranges::find(actions, kRecompute, &Action::kind);
    STAGECOACH_CHECK(found == actions.end(), "to_csv", "a schedule without R",
                     fmt::format("'{}' with {}", schedule.name, found->to_string()),
                     "PyTorch's form has none: write the table without recomputation, or as text");
  }
  const bool communicates = has_communication(schedule);
  std::string text;
  for (const std::vector<Action>& actions : schedule.ranks) {
    text += CsvRow(schedule, communicates).of(actions);
  }
  return text;
}

}  // namespace stagecoach
