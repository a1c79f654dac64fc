// Pictures as SVG.
#pragma once

#include <string>
#include <vector>

#include "pipeline/picture/timeline.h"

namespace stagecoach {

struct PictureOptions {
  double width = 1000;             // pixels
  std::string axis = "time (ms)";  // what stands below it
  double units_per_second = 1e3;   // of its numbers
};

// SVG as in the papers: a row per rank, numbered boxes for F, B, W and R in colours, the boxes of a
// rank's later stages lighter, idle time blank, a time axis, a legend; several timelines below each
// other on one scale.
std::string draw_svg(const std::vector<Timeline>& timelines, const std::string& caption,
                     const PictureOptions& options = {});
// The width at which most boxes of `timeline` have room for their numbers, from 1000 to `widest`.
double picture_width(const Timeline& timeline, double widest);

}  // namespace stagecoach
