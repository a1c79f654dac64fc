#include "trainer/run_picture.h"

#include <algorithm>
#include <ostream>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "pipeline/picture/svg.h"

namespace stagecoach {
namespace {

std::string bubble_text(double fraction) {
  return fmt::format(": bubble {:.1f} %", 100 * fraction);
}

}  // namespace

void write_run_picture(const std::filesystem::path& file, const std::string& title,
                       const Statistics& statistics, const Program* program,
                       const RunReport& report) {
  const std::vector<TraceEvent> step = statistics.median_step();
  std::string measured = fmt::format("measured, step {}", step.empty() ? 0 : step.front().step);
  if (report.bubble) measured += bubble_text(report.bubble->measured);
  std::vector<Timeline> timelines;
  if (program != nullptr) {
    timelines.push_back(
        timeline_of(statistics.predicted(*program), statistics.costs(*program),
                    "predicted from the measured costs" + bubble_text(report.bubble->predicted)));
  }
  timelines.push_back({measured, step, std::max(report.stages, 1)});
  write_file(file, [&](std::ostream& out) { out << draw_svg(timelines, title); });
}

}  // namespace stagecoach
