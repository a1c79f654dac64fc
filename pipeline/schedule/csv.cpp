#include "pipeline/schedule/csv.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>

#include "core/error.h"
#include "pipeline/schedule/placement.h"
#include "pipeline/schedule/table_reader.h"

namespace stagecoach {
namespace {

using enum ActionKind;

constexpr std::string_view kOverlap = "OVERLAP_F_B";
constexpr std::size_t kMostParts = 16;  // of an overlap; PyTorch's have two

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

class CsvReader : public TableReader {
 public:
  explicit CsvReader(std::string file) : TableReader(std::move(file), "cell") {}

  void add_notes(std::vector<std::string>& notes) const {
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
      if (actions().size() - begin > kMostParts) {
        fail(fmt::format("at most {} actions in OVERLAP_F_B", kMostParts), cell);
      }
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
    if (overlap_end_ - overlap_begin_ > 2 * kMostParts) overlap_end_ = overlap_begin_;  // no table
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

Schedule schedule_from_csv(std::string_view text, const std::string& name,
                           std::vector<std::string>* notes) {
  CsvReader reader(name);
  Schedule schedule = reader.read(text);
  if (notes != nullptr) reader.add_notes(*notes);
  return schedule;
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
  STAGECOACH_CHECK(Placement(schedule).groups() == 1, "to_csv", "each stage on one rank",
                   fmt::format("'{}' with a stage on several", schedule.name),
                   "PyTorch's form has none: write the table as text");
  const bool communicates = has_communication(schedule);
  std::string text;
  for (const std::vector<Action>& actions : schedule.ranks) {
    text += CsvRow(schedule, communicates).of(actions);
  }
  return text;
}

}  // namespace stagecoach
