// The sums of squares of all ranks reach each of them by messages; between GPUs, see nccl_test.
#include "pipeline/norm_exchange.h"

#include <gtest/gtest.h>

#include "tests/forked/forked_world.h"
#include "tests/pipeline/norm_sums.h"

namespace stagecoach {
namespace {

using testing::run_forked;

TEST(NormExchange, EachRankGetsTheSumsOfAll) {
  for (const int ranks : {1, 2, 3, 5}) {
    const auto body = [](World& world) {
      const testing::NormSums sums(world.size(), {});
      const auto norms = make_exchanged_norms(world, sums.parts(), world.rank());
      const auto stream = Stream::create({});
      for (int step = 0; step < 3; ++step) {
        sums.make(step, world.rank());
        norms->enqueue(*stream);
        stream->synchronize();
        sums.expect_all(step);
      }
    };
    EXPECT_EQ(run_forked(ranks, body), std::vector<int>(static_cast<std::size_t>(ranks), 0));
  }
}

}  // namespace
}  // namespace stagecoach
