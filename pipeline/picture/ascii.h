// Pictures as text.
#pragma once

#include <cstddef>
#include <string>

#include "pipeline/schedule/simulate.h"

namespace stagecoach {

struct AsciiPicture {
  std::string text;     // a line for each rank
  double column = 0;    // the time of a column, or of a character where scaled
  bool scaled = false;  // the costs have no common step, or a too small one
  bool cut_columns = false, cut_ranks = false;  // the picture shows the beginning only
};
// As in the comments of pipeline/schedule/generators: columns of equal time, "F0 F1 .  BW0--", '.'
// for idle ones, '-' where an action goes on; where a rank holds several stages, "0F3". Actions
// that take no time, or less than a character, are not drawn. For a simulation with its actions.
AsciiPicture draw_ascii(const Simulation& simulation, std::size_t most_characters,
                        std::size_t most_ranks);

}  // namespace stagecoach
