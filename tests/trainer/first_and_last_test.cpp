#include "trainer/first_and_last.h"

#include <gtest/gtest.h>

namespace stagecoach {
namespace {

TEST(FirstAndLast, AreMeansOfBothEnds) {
  FirstAndLast values(2);
  values.add(4);
  EXPECT_EQ(values.first(), 4);  // of what there is
  EXPECT_EQ(values.last(), 4);
  for (const double value : {6, 100, 1, 3}) values.add(value);
  EXPECT_EQ(values.first(), 5);
  EXPECT_EQ(values.last(), 2);
  FirstAndLast one(0);
  for (const double value : {7, 8, 9}) one.add(value);
  EXPECT_EQ(one.first(), 7);
  EXPECT_EQ(one.last(), 9);
}

}  // namespace
}  // namespace stagecoach
