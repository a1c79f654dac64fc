#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "data/dataset.h"

namespace stagecoach {
namespace {

int value_at(const Dataset& dataset, std::int64_t image, int c, int y, int x) {
  return dataset.image(image)[(c * 32 + y) * 32 + x];
}

TEST(Synthetic, AnImageDependsOnSeedSplitAndIndexOnly) {
  const Dataset few = make_synthetic(7, Split::kTrain, 33);
  const Dataset many = make_synthetic(7, Split::kTrain, 80);
  ASSERT_EQ(few.size(), 33);
  ASSERT_EQ(few.pixels.size(), 33u * 3072);
  EXPECT_TRUE(std::equal(few.labels.begin(), few.labels.end(), many.labels.begin()));
  EXPECT_TRUE(std::equal(few.pixels.begin(), few.pixels.end(), many.pixels.begin()));
}

TEST(Synthetic, SeedsSplitsAndImagesDiffer) {
  const Dataset dataset = make_synthetic(7, Split::kTrain, 40);
  for (const Dataset& other :
       {make_synthetic(8, Split::kTrain, 40), make_synthetic(7, Split::kTest, 40),
        make_synthetic(7 + (std::uint64_t{1} << 32), Split::kTrain, 40)}) {
    EXPECT_NE(dataset.labels, other.labels);
    for (int i = 0; i < 40; ++i) {
      EXPECT_NE(std::memcmp(dataset.image(i), other.image(i), 3072), 0) << i;
    }
  }
  for (int i = 1; i < 40; ++i) {
    EXPECT_NE(std::memcmp(dataset.image(i), dataset.image(i - 1), 3072), 0) << i;
  }
}

TEST(Synthetic, SaysWhatItIs) {
  const Dataset dataset = make_synthetic(7, Split::kTest, 0);
  EXPECT_EQ(dataset.name, "synthetic");
  EXPECT_EQ(dataset.size(), 0);
  EXPECT_EQ(dataset.classes.size(), 10u);
  EXPECT_THROW(make_synthetic(7, Split::kTest, -1), Error);
}

TEST(Synthetic, LabelsAreBalancedAndShuffled) {
  const Dataset dataset = make_synthetic(7, Split::kTrain, 1000);
  std::array<int, 10> counts{};
  int same_as_place = 0;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    ++counts.at(dataset.labels[i]);
    same_as_place += dataset.labels[i] == i % 10;
  }
  for (const int count : counts) EXPECT_EQ(count, 100);
  EXPECT_NEAR(same_as_place, 100, 50);
}

using Colour = std::array<double, 3>;

Colour mean_colour(const Dataset& dataset, std::int64_t image) {
  Colour mean{};
  for (int i = 0; i < 3072; ++i) mean[i / 1024] += dataset.image(image)[i] / 1024.0;
  return mean;
}

TEST(Synthetic, TheMeanColourDoesNotTellTheClass) {
  const Dataset train = make_synthetic(1, Split::kTrain, 4000);
  const Dataset test = make_synthetic(1, Split::kTest, 1000);
  std::array<Colour, 10> centres{};
  for (std::int64_t i = 0; i < train.size(); ++i) {
    const Colour mean = mean_colour(train, i);
    for (int c = 0; c < 3; ++c) centres[train.labels[i]][c] += mean[c] / 400;
  }
  int right = 0;
  for (std::int64_t i = 0; i < test.size(); ++i) {
    const Colour mean = mean_colour(test, i);
    int nearest = 0;
    double least = std::numeric_limits<double>::max();
    for (int label = 0; label < 10; ++label) {
      double distance = 0;
      for (int c = 0; c < 3; ++c) {
        distance += (mean[c] - centres[label][c]) * (mean[c] - centres[label][c]);
      }
      if (distance < least) least = distance, nearest = label;
    }
    right += nearest == test.labels[i];
  }
  EXPECT_LT(right, 250) << "of 1000";
}

// The labels belong to the drawings: the strength of edges along each axis tells stripes apart.
TEST(Synthetic, StripesRunAsTheirClassSays) {
  const Dataset dataset = make_synthetic(3, Split::kTrain, 500);
  int striped = 0;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    const std::string& name = dataset.classes[dataset.labels[i]];
    if (name != "horizontal stripes" && name != "vertical stripes") continue;
    ++striped;
    std::int64_t along_x = 0, along_y = 0;
    for (int y = 1; y < 32; ++y) {
      for (int x = 1; x < 32; ++x) {
        const int here = value_at(dataset, i, 0, y, x);
        const int step_x = here - value_at(dataset, i, 0, y, x - 1);
        const int step_y = here - value_at(dataset, i, 0, y - 1, x);
        along_x += step_x * step_x;
        along_y += step_y * step_y;
      }
    }
    EXPECT_EQ(along_x > along_y, name == "vertical stripes") << i;
  }
  EXPECT_EQ(striped, 100);
}

TEST(Synthetic, EveryImageHasContrast) {
  const Dataset dataset = make_synthetic(5, Split::kTest, 500);
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    for (int c = 0; c < 3; ++c) {
      const auto* plane = dataset.image(i) + c * 1024;
      const auto [low, high] = std::minmax_element(plane, plane + 1024);
      EXPECT_GE(*high - *low, 50) << i;
    }
  }
}

}  // namespace
}  // namespace stagecoach
