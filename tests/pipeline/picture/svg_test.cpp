#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "core/error.h"
#include "pipeline/picture/svg.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/generators.h"

namespace stagecoach {
namespace {

int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++found;
  }
  return found;
}

bool has(const std::string& text, const std::string& part) {
  return count(text, part) > 0;
}

// Tags are balanced, attributes quoted, and text holds no bare '<' or '&'.
void expect_well_formed(const std::string& xml) {
  std::vector<std::string> open;
  for (std::size_t at = 0; at < xml.size(); ++at) {
    if (xml[at] == '&') {
      const std::string entity = xml.substr(at, xml.find(';', at) + 1 - at);
      EXPECT_TRUE(entity == "&amp;" || entity == "&lt;" || entity == "&gt;" || entity == "&quot;")
          << entity;
    }
    if (xml[at] != '<') continue;
    const std::size_t end = xml.find('>', at);
    ASSERT_NE(end, std::string::npos);
    const std::string tag = xml.substr(at + 1, end - at - 1);
    EXPECT_EQ(count(tag, "\"") % 2, 0) << tag;
    EXPECT_EQ(count(tag, "=\""), count(tag, "\"") / 2) << tag;
    EXPECT_FALSE(has(tag, "<")) << tag;
    if (tag.front() == '/') {
      ASSERT_FALSE(open.empty());
      EXPECT_EQ(open.back(), tag.substr(1));
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
    at = end;
  }
  EXPECT_TRUE(open.empty());
}

SimulationCosts equal_costs(const Schedule& schedule, const StageCosts& costs) {
  return {std::vector<StageCosts>(static_cast<std::size_t>(schedule.stages), costs), 0, 0};
}

Timeline predicted(const Schedule& schedule, const StageCosts& stage_costs) {
  const SimulationCosts costs = equal_costs(schedule, stage_costs);
  return timeline_of(simulate(check(schedule), costs, BufferLimit::kPlanned), costs, schedule.name);
}

Timeline in_one_piece(const Schedule& schedule) {
  return timeline_of(simulate(check(schedule), equal_costs(schedule, {}), BufferLimit::kPlanned),
                     schedule.name);
}

TEST(Draw, ABoxPerEvent) {
  const std::string svg = draw_svg({predicted(gpipe_schedule(4, 8), {.01, .01, .01}),
                                    predicted(one_f_one_b_schedule(4, 8), {.01, .01, .01})},
                                   "two schedules");
  expect_well_formed(svg);
  for (const char* kind : {"F", "B", "W"}) {
    EXPECT_EQ(count(svg, std::string("<rect class=\"") + kind + "\""), 2 * 4 * 8);
    EXPECT_EQ(count(svg, std::string("<text class=\"n") + kind + "\""), 2 * 4 * 8);
  }
  EXPECT_EQ(count(svg, ">stage 3</text>"), 2);
  EXPECT_EQ(count(svg, "two schedules"), 1);
  EXPECT_TRUE(has(svg, ">gpipe</text>"));
  EXPECT_TRUE(has(svg, ">time (ms)</text>"));
  EXPECT_TRUE(has(svg, ">F: forward</text>"));
  EXPECT_FALSE(has(svg, ">optimizer</text>"));  // the legend shows what there is
}

TEST(Draw, BackwardInOnePiece) {
  const std::string svg = draw_svg({in_one_piece(one_f_one_b_schedule(4, 8))}, "");
  expect_well_formed(svg);
  EXPECT_EQ(count(svg, "<rect class=\"F\""), 4 * 8);
  EXPECT_EQ(count(svg, "<rect class=\"BW\""), 4 * 8);
  EXPECT_EQ(count(svg, "<rect class=\"B\""), 0);
  EXPECT_TRUE(has(svg, ">BW: backward</text>"));
}

// The second stage of each rank is lighter.
TEST(Draw, ChunksInShades) {
  const std::string svg = draw_svg({in_one_piece(interleaved_schedule(2, 4, 3))}, "");
  expect_well_formed(svg);
  for (const char* shade : {"F", "F c1", "F c2", "BW", "BW c1", "BW c2"}) {
    EXPECT_EQ(count(svg, std::string("<rect class=\"") + shade + "\""), 2 * 4) << shade;
  }
  EXPECT_TRUE(has(svg, "rect.F { fill: #0072b2 }"));
  EXPECT_TRUE(has(svg, "rect.F.c1 { fill: #73b1d5 }"));  // 0.45 of the way to white
  EXPECT_TRUE(has(svg, "lighter: a rank's later stages"));
  EXPECT_TRUE(has(svg, ">rank 1</text>"));
}

TEST(Draw, OtherAxes) {
  const Timeline timeline = in_one_piece(gpipe_schedule(2, 2));
  const std::string svg = draw_svg({timeline}, "", {500, "time", 1});
  expect_well_formed(svg);
  EXPECT_TRUE(has(svg, ">time</text>"));
  EXPECT_TRUE(has(svg, ">9</text>"));  // the makespan, not 9000
  EXPECT_TRUE(has(svg, "width=\"500\""));
}

TEST(Draw, WideEnoughForTheNumbers) {
  EXPECT_EQ(picture_width(in_one_piece(gpipe_schedule(2, 2)), 16000), 1000);
  EXPECT_EQ(picture_width(in_one_piece(gpipe_schedule(2, 5000)), 16000), 16000);
  const Timeline timeline = in_one_piece(gpipe_schedule(2, 100));
  const double width = picture_width(timeline, 16000);
  EXPECT_GT(width, 1000);
  const std::string svg = draw_svg({timeline}, "", {width, "", 1});
  EXPECT_EQ(count(svg, "<text class=\"nF\""), 200);
  EXPECT_EQ(picture_width(Timeline{"", {}, 1}, 16000), 1000);
}

TEST(Draw, OtherEvents) {
  const Timeline measured{"measured",
                          {{TraceKind::kForward, 0, 0, 0, 4, 10, 10.5},
                           {TraceKind::kWait, 0, 0, 0, 4, 10.5, 10.6},
                           {TraceKind::kReceive, 1, 1, 0, 4, 10.5, 10.7},
                           {TraceKind::kOptimizer, 0, 0, -1, 4, 10.6, 11}},
                          2};
  const std::string svg = draw_svg({measured}, "");
  expect_well_formed(svg);
  EXPECT_EQ(count(svg, "<rect class=\"F\""), 1);
  EXPECT_EQ(count(svg, "<rect class=\"C\""), 1);
  EXPECT_EQ(count(svg, "<rect class=\"O\""), 1);
  EXPECT_EQ(count(svg, "<rect class="), 3 + 2);  // and the ground of two rows: waiting is blank
  EXPECT_TRUE(has(svg, ">optimizer</text>"));
  EXPECT_TRUE(has(svg, ">send, receive</text>"));
  // From the earliest start on: the first box is at the left, the axis starts at 0.
  EXPECT_TRUE(has(svg, "<rect class=\"F\" x=\"76.00\""));
  EXPECT_TRUE(has(svg, ">0</text>"));
  EXPECT_TRUE(has(svg, ">1000</text>"));
}

TEST(Draw, OneScaleForAllTimelines) {
  const Timeline fast{"fast", {{TraceKind::kForward, 0, 0, 0, 0, 0, 1}}, 1};
  const Timeline slow{"slow", {{TraceKind::kBackwardInput, 0, 0, 0, 0, 5, 7}}, 1};
  const std::string svg = draw_svg({fast, slow}, "");
  EXPECT_TRUE(has(svg, "<rect class=\"F\" x=\"76.00\" y=\"66.0\" width=\"454.30\""));
  EXPECT_TRUE(has(svg, "<rect class=\"B\" x=\"76.00\" y=\"128.0\" width=\"909.30\""));
}

TEST(Draw, NumbersOnlyWhereTheyFit) {
  const std::string svg = draw_svg({predicted(gpipe_schedule(2, 300), {1, 1, 1})}, "");
  EXPECT_EQ(count(svg, "<rect class=\"F\""), 600);
  EXPECT_EQ(count(svg, "<text class=\"nF\""), 0);
  expect_well_formed(svg);
}

TEST(Draw, EscapesText) {
  const Timeline timeline{"<b> & \"c\"\n", {{TraceKind::kForward, 0, 0, 0, 0, 0, 1}}, 1};
  const std::string svg = draw_svg({timeline}, "1 < 2 && 3 > 2");
  expect_well_formed(svg);
  EXPECT_TRUE(has(svg, "&lt;b&gt; &amp; &quot;c&quot; </text>"));
  EXPECT_TRUE(has(svg, "1 &lt; 2 &amp;&amp; 3 &gt; 2"));
}

TEST(Draw, LongCaptionsAreWrapped) {
  std::string caption;
  for (int i = 0; i < 60; ++i) caption += "word" + std::to_string(i) + " ";
  caption += std::string(400, 'x');
  const std::string svg = draw_svg({}, caption);
  expect_well_formed(svg);
  for (int i = 0; i < 60; ++i) EXPECT_TRUE(has(svg, "word" + std::to_string(i)));
  EXPECT_EQ(count(svg, "<text class=\"c\""), 4);  // 60 words in three lines, and the long one
}

TEST(Draw, RowsOfRanksWithSeveralStagesAndWithNone) {
  const Timeline timeline{
      "", {{TraceKind::kForward, 0, 0, 0, 0, 0, 1}, {TraceKind::kForward, 0, 2, 0, 0, 1, 2}}, 2};
  const std::string svg = draw_svg({timeline}, "");
  EXPECT_TRUE(has(svg, ">rank 0</text>"));
  EXPECT_TRUE(has(svg, ">rank 1</text>"));
}

TEST(Draw, EmptyTimelines) {
  expect_well_formed(draw_svg({}, ""));
  expect_well_formed(draw_svg({Timeline{"nothing", {}, 2}}, "nothing"));
}

TEST(Draw, RefusesWhatCannotBeDrawn) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(draw_svg({Timeline{"", {{TraceKind::kForward, 2, 0, 0, 0, 0, 1}}, 2}}, ""), Error);
  EXPECT_THROW(draw_svg({Timeline{"", {{TraceKind::kForward, 0, 0, 0, 0, nan, 1}}, 2}}, ""), Error);
}

}  // namespace
}  // namespace stagecoach
