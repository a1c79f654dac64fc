#include "pipeline/gradient_tree.h"

#include <gtest/gtest.h>

#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

constexpr std::int64_t kElements = 37;

TEST(GradientTree, CutsAStepIntoGroupsOfMicroBatches) {
  const GradientTree tree(4, 8);
  EXPECT_EQ(tree.groups(), 4);
  EXPECT_EQ(tree.waiting_sums(), 2);
  for (int weights = 0; weights < 8; ++weights) {
    EXPECT_EQ(tree.group_of(weights), weights / 2);
    EXPECT_EQ(tree.before_in_group(weights), weights % 2);
    EXPECT_EQ(tree.ends_group(weights), weights % 2 == 1);
  }
  EXPECT_TRUE(tree.waits(0) && !tree.waits(1) && tree.waits(2) && !tree.waits(3));
  const GradientTree chain(1, 8);
  EXPECT_FALSE(chain.waits(0));
  EXPECT_EQ(chain.waiting_sums(), 0);
  EXPECT_TRUE(chain.ends_group(7) && !chain.ends_group(6));
}

// The definition, written as a recursion.
float sum_of(const std::vector<OwnedTensor>& groups, std::size_t first, std::size_t count,
             std::int64_t element) {
  if (count == 1) return groups[first].tensor.as<float>()[element];
  return sum_of(groups, first, count / 2, element) +
         sum_of(groups, first + count / 2, count / 2, element);
}

TEST(GradientTree, AddsTwoByTwo) {
  for (const int count : {1, 2, 4, 8, 16}) {
    const GradientTree tree(count, 3 * count);
    std::vector<OwnedTensor> groups, sums;
    std::vector<Tensor> waiting;
    for (int i = 0; i < tree.waiting_sums(); ++i) {
      waiting.push_back(sums.emplace_back(row_major({kElements})).tensor);
    }
    const OwnedTensor result(row_major({kElements}));
    testing::run_on_context(1, [&](Context& context) {
      for (int group = 0; group < count; ++group) {
        groups.push_back(
            testing::random_tensor(result.tensor.spec, 1000U + static_cast<unsigned>(group)));
        const Tensor& to = tree.waits(group) ? waiting[0] : result.tensor;
        context.stream().synchronize();
        std::memcpy(to.data, groups.back().tensor.data, static_cast<std::size_t>(to.bytes()));
        tree.end_group(context, group, waiting, result.tensor);
      }
    });
    for (std::int64_t i = 0; i < kElements; ++i) {
      EXPECT_EQ(result.tensor.as<float>()[i], sum_of(groups, 0, groups.size(), i)) << count;
    }
  }
}

TEST(GradientTree, RefusesOtherNumbers) {
  testing::expect_error(
      [] { GradientTree(3, 6); },
      {"gradient groups", "a power of two that divides the 6 micro-batches", "got 3"});
  testing::expect_error([] { GradientTree(4, 6); }, {"got 4"});
  testing::expect_error([] { GradientTree(0, 6); }, {"got 0"});
}

}  // namespace
}  // namespace stagecoach
