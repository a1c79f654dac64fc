#include "trainer/cli/suggest.h"

#include <gtest/gtest.h>

namespace stagecoach {
namespace {

TEST(Suggest, NearWordsOnly) {
  EXPECT_EQ(did_you_mean("gpip", {"naive", "gpipe"}), "did you mean 'gpipe'?");
  EXPECT_EQ(did_you_mean("kitten", {"naive", "gpipe"}), "");
  EXPECT_EQ(did_you_mean("x", {}), "");
  EXPECT_EQ(enumerate({"a"}), "a");
  EXPECT_EQ(enumerate({"a", "b"}), "a or b");
  EXPECT_EQ(enumerate({"a", "b", "c"}), "a, b or c");
}

}  // namespace
}  // namespace stagecoach
