// What the readers of both forms of schedules share: where they are, and actions "0F3".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pipeline/schedule/schedule.h"

namespace stagecoach {

inline constexpr std::string_view kBlanks = " \t\r";
// Without the blanks around it.
std::string_view trimmed(std::string_view text);
// For a message: quoted, bytes that cannot be shown as \xNN, and not endless.
std::string shown(std::string_view word);
// Removes what comes before the first `separator` from `rest`, and it, and returns the former.
std::string_view take(std::string_view& rest, char separator);

class TableReader {
 public:
  // `file` stands in errors and in the schedule; `unit`: "word" or "cell", of a line.
  TableReader(std::string file, const char* unit) : file_(std::move(file)), unit_(unit) {}
  virtual ~TableReader() = default;
  TableReader(const TableReader&) = delete;
  TableReader& operator=(const TableReader&) = delete;

  // Once. Throws Error naming file, line, rank and the word that is none.
  Schedule read(std::string_view text);

 protected:
  virtual void read_line(std::string_view line) = 0;
  // The kind of that name, or none for what is left out; fails for a name that is none.
  virtual std::optional<ActionKind> kind_of(std::string_view name, std::string_view word) = 0;
  // Fails where the form has no micro-batch for this kind.
  virtual void check_stage_action(ActionKind, std::string_view) {}

  std::vector<Action>& actions() { return schedule_.ranks.back(); }
  void begin_rank();
  void next_word() { ++word_; }
  void end_rank(std::string_view hint = "") const;
  // The action in `word`, unless its kind is left out.
  std::optional<Action> action_of(std::string_view word);
  [[noreturn]] void fail(std::string expected, std::string_view word, std::string hint = "") const;

  const std::string& file() const { return file_; }
  int line() const { return line_; }
  int next_rank() const { return static_cast<int>(schedule_.ranks.size()); }

 private:
  int number(std::string_view digits, std::string_view word) const;
  void count();
  std::string first_place(int Action::*number, int value) const;

  std::string file_;
  const char* unit_;
  Schedule schedule_;
  int line_ = 0;
  std::size_t word_ = 0;  // of the line, from 1
};

}  // namespace stagecoach
