#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "pipeline/picture/ascii.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/generators.h"

namespace stagecoach {
namespace {

AsciiPicture drawn(const Schedule& schedule, const StageCosts& costs = {},
                   std::size_t most_characters = 1000, std::size_t most_ranks = 100) {
  const std::vector<StageCosts> stages(static_cast<std::size_t>(schedule.stages), costs);
  return draw_ascii(simulate(check(schedule), {stages, 0, 0}, BufferLimit::kPlanned),
                    most_characters, most_ranks);
}

// The pictures in the comments of pipeline/schedule/generators.
TEST(Ascii, GPipe) {
  const AsciiPicture picture = drawn(gpipe_schedule(3, 3));
  EXPECT_EQ(picture.text,
            "rank 0  F0 F1 F2 .  .  .  .  .  .  BW0-- BW1-- BW2--\n"
            "rank 1  .  F0 F1 F2 .  .  .  BW0-- BW1-- BW2-- .  .\n"
            "rank 2  .  .  F0 F1 F2 BW0-- BW1-- BW2-- .  .  .  .\n");
  EXPECT_EQ(picture.column, 1);
  EXPECT_FALSE(picture.scaled || picture.cut_columns || picture.cut_ranks);
}

TEST(Ascii, OneForwardOneBackward) {
  EXPECT_EQ(drawn(one_f_one_b_schedule(3, 4)).text,
            "rank 0  F0 F1 F2 .  .  .  .  BW0-- F3 BW1-- .  BW2-- .  BW3--\n"
            "rank 1  .  F0 F1 .  .  BW0-- F2 BW1-- F3 BW2-- .  BW3-- .  .\n"
            "rank 2  .  .  F0 BW0-- F1 BW1-- F2 BW2-- F3 BW3-- .  .  .  .\n");
}

// Columns of the greatest common step; longer actions are filled.
TEST(Ascii, CommonStep) {
  const AsciiPicture picture = drawn(gpipe_schedule(2, 1), {0.3, 0.1, 0.1});
  EXPECT_NEAR(picture.column, 0.1, 1e-9);
  EXPECT_EQ(picture.text,
            "rank 0  F0--- . . . . . BW0\n"
            "rank 1  . . . F0--- BW0 . .\n");
}

TEST(Ascii, StagesOfARankByName) {
  EXPECT_EQ(drawn(interleaved_schedule(1, 1, 2)).text, "rank 0  0F0 1F0 1BW0--- 0BW0---\n");
}

TEST(Ascii, WideEnoughForLongNumbers) {
  const std::string text = drawn(gpipe_schedule(1, 11)).text;
  EXPECT_EQ(text.substr(0, 48), "rank 0  F0  F1  F2  F3  F4  F5  F6  F7  F8  F9  ");
  EXPECT_NE(text.find(" F10 BW0---- "), std::string::npos) << text;
}

TEST(Ascii, CostsWithoutACommonStepAreScaled) {
  const AsciiPicture picture = drawn(gpipe_schedule(2, 2), {1, 1.0371, 0.9913});
  EXPECT_TRUE(picture.scaled);
  for (const char* label : {"F0", "F1", "BW0-", "BW1-"}) {
    EXPECT_NE(picture.text.find(label), std::string::npos) << picture.text;
  }
}

TEST(Ascii, ActionsOfNoTimeAreLeftOut) {
  const Schedule schedule = gpipe_schedule(1, 2);
  EXPECT_EQ(drawn(schedule, {1, 0, 0}).text, "rank 0  F0 F1\n");
  EXPECT_EQ(drawn(schedule, {0, 0, 0}).text, "rank 0  \n");
}

TEST(Ascii, OnlyTheBeginningOfLargeTables) {
  const AsciiPicture picture = drawn(gpipe_schedule(20, 50), {}, 30, 11);
  EXPECT_TRUE(picture.cut_columns);
  EXPECT_TRUE(picture.cut_ranks);
  std::string line = picture.text.substr(0, picture.text.find('\n'));
  EXPECT_EQ(line, "rank 0   F0  F1  F2  F3  F4  F5  F6  F7 ...");
  EXPECT_EQ(picture.text.find("rank 11"), std::string::npos);
  EXPECT_NE(picture.text.find("rank 10  "), std::string::npos);
}

}  // namespace
}  // namespace stagecoach
