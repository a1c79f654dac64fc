// The sums of squares of all ranks reach each of them, over links between GPUs whose sends have no
// buffer.
#include <gtest/gtest.h>
#include <nccl.h>

#include "core/graph.h"
#include "tests/forked/forked_world.h"
#include "tests/pipeline/norm_sums.h"

namespace stagecoach {
namespace {

using testing::run_forked;

constexpr Device kGpu{DeviceType::kCuda, 0};

void exchange(World& world) {
  const auto links = make_device_links(world, kGpu);
  const auto stream = links->create_stream();
  const int rank = world.rank();
  const auto link_to = [&](int other) -> DeviceLink* {
    if (other < 0 || other >= world.size()) return nullptr;
    return &links->connect(other, DeviceLinks::Use::kBoth);
  };
  DeviceLink* const before = link_to(rank - 1);
  DeviceLink* const after = link_to(rank + 1);
  const testing::NormSums sums(world.size(), kGpu);
  const OwnedTensor memory(
      row_major({static_cast<std::int64_t>(sums.all().size_bytes())}, DType::kU8), kGpu);
  const auto norms =
      make_linked_norms(before, after, sums.all(), sums.parts(), rank, memory.tensor);
  Stream* const streams[] = {stream.get()};
  std::unique_ptr<Graph> graph;
  for (int step = 0; step < 4; ++step) {
    sums.make(step, rank);
    if (step == 2) graph = Graph::capture(streams, [&] { norms->enqueue(*stream); });
    if (graph == nullptr) {
      norms->enqueue(*stream);
    } else {
      graph->launch(*stream);
    }
    Event reached;
    stream->record(reached);
    links->wait(reached);
    sums.expect_all(step);
  }
}

TEST(NormExchangeNccl, EachRankGetsTheSumsOfAll) {
  for (const int ranks : {2, 3, 5}) {
    const auto body = [](World& world) {
      exchange(world);
      EXPECT_EQ(simulated::nccl_faults(), 0);
      EXPECT_EQ(simulated::communicators(), 0);
    };
    EXPECT_EQ(run_forked(ranks, body), std::vector<int>(static_cast<std::size_t>(ranks), 0));
  }
}

}  // namespace
}  // namespace stagecoach
