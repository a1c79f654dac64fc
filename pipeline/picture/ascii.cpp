#include "pipeline/picture/ascii.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace stagecoach {
namespace {

// Boxes of a rank's row in columns, from begin up to end.
struct Cell {
  std::string label;
  std::int64_t begin = 0, end = 0;
};

// Euclid's, for numbers that are multiples of one up to rounding errors below `tolerance`.
double common_step(double a, double b, double tolerance) {
  while (b > tolerance) {
    const double rest = a - b * std::floor(a / b + tolerance / b);
    a = b;
    b = std::max(0.0, rest);
  }
  return a;
}

class Ascii {
 public:
  Ascii(const Simulation& simulation, std::size_t most_characters, std::size_t most_ranks)
      : simulation_(simulation), most_characters_(most_characters) {
    const std::size_t ranks = simulation.busy.size();
    picture_.cut_ranks = ranks > most_ranks;
    rows_.resize(std::min(ranks, most_ranks));
    note_stages();
  }

  AsciiPicture draw() {
    choose_columns();
    for (const SimulatedAction& one : simulation_.actions) {
      if (!is_drawn(one)) continue;
      rows_[one.rank].push_back({label_of(one.action), column_of(one.start), column_of(one.end)});
    }
    const std::size_t digits = fmt::format("{}", rows_.size() - 1).size();
    for (std::size_t rank = 0; rank < rows_.size(); ++rank) {
      picture_.text += fmt::format("rank {:<{}}  {}\n", rank, digits, row(rows_[rank]));
    }
    return std::move(picture_);
  }

 private:
  bool is_drawn(const SimulatedAction& one) const {
    return is_compute(one.action.kind) && one.end > one.start &&
           one.rank < static_cast<int>(rows_.size());
  }

  void note_stages() {
    std::vector<int> stage_of(simulation_.busy.size(), -1);
    for (const SimulatedAction& one : simulation_.actions) {
      int& stage = stage_of[one.rank];
      if (stage >= 0 && stage != one.action.stage) several_stages_ = true;
      stage = one.action.stage;
    }
  }

  std::string label_of(const Action& action) const {
    if (several_stages_) return action.to_string();
    return fmt::format("{}{}", name_of(action.kind), action.micro_batch);
  }

  // Columns of the common step of all times; where that makes too many, characters, so many that
  // all labels but those of very short actions have room.
  void choose_columns() {
    // Of a long table a millionth may be more than an action.
    double tolerance = simulation_.makespan * 1e-6;
    for (const SimulatedAction& one : simulation_.actions) {
      if (one.end > one.start) tolerance = std::min(tolerance, (one.end - one.start) * 1e-3);
    }
    double step = simulation_.makespan, longest = 0;
    for (const SimulatedAction& one : simulation_.actions) {
      if (!is_compute(one.action.kind)) continue;
      if (one.end > one.start) step = common_step(step, one.end - one.start, tolerance);
      if (one.start > 0) step = common_step(step, one.start, tolerance);
      longest = std::max(longest, one.end - one.start);
    }
    constexpr double kColumns = 40;  // of the longest action, at most
    picture_.scaled = step <= 0 || longest > kColumns * step;
    picture_.column = picture_.scaled ? scaled_step(longest) : step;
    if (picture_.scaled) return;
    for (const SimulatedAction& one : simulation_.actions) {
      if (!is_drawn(one)) continue;
      const auto columns = static_cast<std::size_t>(
          std::max<std::int64_t>(1, column_of(one.end) - column_of(one.start)));
      const std::size_t characters = label_of(one.action).size() + 1;
      width_ = std::max(width_, (characters + columns - 1) / columns);
    }
  }

  double scaled_step(double longest) const {
    constexpr double kShort = 1.0 / 20;  // of the longest action
    double step = longest;
    for (const SimulatedAction& one : simulation_.actions) {
      const double time = one.end - one.start;
      if (!is_drawn(one) || time < kShort * longest) continue;
      // One more, which rounding may take.
      const auto characters = static_cast<double>(label_of(one.action).size() + 2);
      step = std::min(step, time / characters);
    }
    return step;
  }

  std::int64_t column_of(double time) const {
    return picture_.column > 0 ? std::llround(time / picture_.column) : 0;
  }

  std::string row(const std::vector<Cell>& cells) {
    constexpr std::int64_t kDots = 3;  // characters from one to the next, where scaled
    const auto width = static_cast<std::int64_t>(width_);
    const auto wanted = static_cast<std::size_t>(column_of(simulation_.makespan) * width);
    picture_.cut_columns = picture_.cut_columns || wanted > most_characters_;
    std::string line(std::min(wanted, most_characters_), ' ');
    const std::int64_t dots = picture_.scaled ? kDots : width;
    for (std::size_t at = 0; at < line.size(); at += static_cast<std::size_t>(dots)) {
      line[at] = '.';
    }
    for (const Cell& cell : cells) {
      const auto begin = static_cast<std::size_t>(cell.begin * width);
      const auto end = static_cast<std::size_t>(cell.end * width);
      if (begin >= line.size() || end <= begin) continue;
      std::string box = cell.label.substr(0, std::max<std::size_t>(end - begin, 2) - 1);
      const bool longer = picture_.scaled || cell.end > cell.begin + 1;
      box.resize(end - begin - 1, longer ? '-' : ' ');
      line.replace(begin, end - begin, box + " ");
    }
    if (wanted > most_characters_) {
      line.resize(most_characters_);
      return line + " ...";
    }
    return line.substr(0, line.find_last_not_of(' ') + 1);
  }

  const Simulation& simulation_;
  std::size_t most_characters_;
  bool several_stages_ = false;
  std::size_t width_ = 1;  // characters of a column
  std::vector<std::vector<Cell>> rows_;
  AsciiPicture picture_;
};

}  // namespace

AsciiPicture draw_ascii(const Simulation& simulation, std::size_t most_characters,
                        std::size_t most_ranks) {
  return Ascii(simulation, most_characters, most_ranks).draw();
}

}  // namespace stagecoach
