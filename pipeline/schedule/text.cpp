#include "pipeline/schedule/text.h"

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "pipeline/schedule/table_reader.h"

namespace stagecoach {
namespace {

class TextReader : public TableReader {
 public:
  explicit TextReader(std::string file) : TableReader(std::move(file), "word") {}

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
    STAGECOACH_CHECK(colon != std::string_view::npos && digits == std::to_string(rank),
                     "read_schedule", fmt::format("'rank {}:' or its first action", rank),
                     fmt::format("{}, line {}: {}", file(), this->line(), shown(line)),
                     "ranks come in order, from 0, each on one line");
    return line.substr(colon + 1);
  }

  std::optional<ActionKind> kind_of(std::string_view name, std::string_view word) override {
    std::string known;
    for (const ActionTraits& one : kActions) {
      if (one.name == name) return one.kind;
      known += fmt::format("{}{}", known.empty() ? "" : ", ", one.name);
    }
    fail("a kind among " + known, word,
         name == "I" ? "PyTorch's I is B here, and its B is BW: end the file's name in .csv" : "");
  }

  void check_stage_action(ActionKind kind, std::string_view word) override {
    fail(fmt::format("no micro-batch after {}", name_of(kind)), word);
  }
};

}  // namespace

Schedule schedule_from_text(std::string_view text, const std::string& name) {
  return TextReader(name).read(text);
}

}  // namespace stagecoach
