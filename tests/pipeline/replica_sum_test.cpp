#include "pipeline/replica_sum.h"

#include <gtest/gtest.h>

#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

// The shares of all replicas are all elements, and each is summed two by two.
TEST(ReplicaSum, EachShareGetsTheTreesSum) {
  for (const std::int64_t elements : {1, 15, 64, 1000, 1007}) {
    for (const int replicas : {1, 2, 4, 8}) {
      std::vector<OwnedTensor> before, memory;
      std::vector<Tensor> gradients;
      for (int r = 0; r < replicas; ++r) {
        before.push_back(
            testing::random_tensor(row_major({elements}), 50U + static_cast<unsigned>(r)));
        gradients.push_back(memory.emplace_back(testing::copy_of(before.back().tensor)).tensor);
      }
      testing::run_on_context(2, [&](Context& context) {
        for (int r = replicas - 1; r >= 0; --r) {
          sum_replicas(context, gradients, r, share_of({0, elements}, replicas, r));
        }
      });
      for (std::int64_t i = 0; i < elements; ++i) {
        std::vector<float> level;
        for (const OwnedTensor& one : before) level.push_back(one.tensor.as<float>()[i]);
        while (level.size() > 1) {
          for (std::size_t n = 0; n < level.size() / 2; ++n)
            level[n] = level[2 * n] + level[2 * n + 1];
          level.resize(level.size() / 2);
        }
        int holders = 0;
        for (int r = 0; r < replicas; ++r) {
          const Elements share = share_of({0, elements}, replicas, r);
          if (i < share.first || i >= share.end) continue;
          ++holders;
          ASSERT_EQ(gradients[static_cast<std::size_t>(r)].as<float>()[i], level[0])
              << elements << " of " << replicas;
        }
        ASSERT_EQ(holders, 1) << i;
      }
    }
  }
}

}  // namespace
}  // namespace stagecoach
