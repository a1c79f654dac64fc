// Links by NCCL, between processes on simulated GPUs.
#include "comm/nccl/nccl_links.h"

#include <gtest/gtest.h>
#include <nccl.h>

#include "core/copy.h"
#include "core/error.h"
#include "core/graph.h"
#include "tests/forked/forked_world.h"
#include "tests/kernels/checks.h"

namespace stagecoach {
namespace {

using testing::run_forked;

constexpr Device kGpu{DeviceType::kCuda, 0};
const std::vector<int> kBothPass(2, 0);

// One of two processes, linked with the other.
struct Linked {
  explicit Linked(World& world, std::chrono::milliseconds patience = DeviceLinks::kPatience)
      : links(make_device_links(world, kGpu, patience)),
        link(links->connect(1 - world.rank(), DeviceLinks::Use::kBoth)),
        stream(links->create_stream()) {}

  OwnedTensor floats(std::int64_t count, float value) {
    OwnedTensor host(row_major({count}));
    for (std::int64_t i = 0; i < count; ++i) host.tensor.as<float>()[i] = value;
    OwnedTensor made(row_major({count}), kGpu);
    copy(*stream, made.tensor, host.tensor);
    stream->synchronize();
    return made;
  }
  float last_of(const Tensor& tensor) {
    return to_host(*stream, tensor).tensor.as<float>()[tensor.elements() - 1];
  }
  void wait() {
    Event reached;
    stream->record(reached);
    links->wait(reached);
  }

  std::unique_ptr<DeviceLinks> links;
  DeviceLink& link;
  std::unique_ptr<Stream> stream;
};

TEST(NcclLinks, ExchangesTensorsBothWays) {
  const auto body = [](World& world) {
    {
      Linked linked(world);
      const float own = world.rank() == 0 ? 3.0F : 7.0F;
      const OwnedTensor sent = linked.floats(100000, own), received = linked.floats(100000, 0);
      linked.link.exchange({&sent.tensor, 1}, {&received.tensor, 1}, *linked.stream);
      linked.wait();
      EXPECT_EQ(linked.last_of(received.tensor), 10.0F - own);
    }
    EXPECT_EQ(simulated::nccl_faults(), 0);
    EXPECT_EQ(simulated::communicators(), 0);
  };
  EXPECT_EQ(run_forked(2, body), kBothPass);
}

TEST(NcclLinks, RepeatsWhatAGraphHasCaptured) {
  const auto body = [](World& world) {
    Linked linked(world);
    const OwnedTensor value = linked.floats(5, world.rank() == 0 ? 1.0F : 2.0F);
    const OwnedTensor other = linked.floats(5, 0);
    Stream* const streams[] = {linked.stream.get()};
    const std::unique_ptr<Graph> graph = Graph::capture(streams, [&] {
      linked.link.exchange({&value.tensor, 1}, {&other.tensor, 1}, *linked.stream);
      linked.link.exchange({&other.tensor, 1}, {&value.tensor, 1}, *linked.stream);
    });
    for (int i = 0; i < 3; ++i) graph->launch(*linked.stream);
    linked.wait();
    EXPECT_EQ(linked.last_of(value.tensor), world.rank() == 0 ? 1.0F : 2.0F);
    EXPECT_EQ(linked.last_of(other.tensor), world.rank() == 0 ? 2.0F : 1.0F);
  };
  EXPECT_EQ(run_forked(2, body), kBothPass);
}

// Process 3 takes no part: a group is of some.
TEST(NcclLinks, AddUpOverAGroup) {
  const auto body = [](World& world) {
    if (world.rank() == 3) return;
    {
      const auto links = make_device_links(world, kGpu);
      DeviceGroup& group = links->make_group({0, 1, 2});
      const auto stream = links->create_stream();
      OwnedTensor host(row_major({100000}));
      for (std::int64_t i = 0; i < 100000; ++i) {
        host.tensor.as<float>()[i] = static_cast<float>(i % 10 + world.rank());
      }
      const OwnedTensor values(host.tensor.spec, kGpu);
      const auto expect_sums = [&](float last) {
        Event reached;
        stream->record(reached);
        links->wait(reached);
        const OwnedTensor sums = to_host(*stream, values.tensor);
        EXPECT_EQ(sums.tensor.as<float>()[99999], last);
        EXPECT_EQ(sums.tensor.as<float>()[0], last / 10);
      };
      copy(*stream, values.tensor, host.tensor);
      group.add_up(values.tensor, *stream);
      expect_sums(9 + 10 + 11);
      Stream* const streams[] = {stream.get()};
      const auto graph = Graph::capture(streams, [&] { group.add_up(values.tensor, *stream); });
      for (int i = 0; i < 2; ++i) graph->launch(*stream);
      expect_sums(9 * 30);
    }
    EXPECT_EQ(simulated::nccl_faults(), 0);
    EXPECT_EQ(simulated::communicators(), 0);
  };
  EXPECT_EQ(run_forked(4, body), std::vector<int>(4, 0));
}

// What the stand-in finds, it finds here: the rest of the tests relies on it.
TEST(NcclLinks, OtherCountsInASumAreAnError) {
  const auto body = [](World& world) {
    const auto links = make_device_links(world, kGpu);
    DeviceGroup& group = links->make_group({0, 1});
    const auto stream = links->create_stream();
    const OwnedTensor values(row_major({5 + world.rank()}), kGpu);
    testing::expect_error(
        [&] {
          group.add_up(values.tensor, *stream);
          Event reached;
          stream->record(reached);
          links->wait(reached);
        },
        {"NCCL", "invalid usage", "added up, the other end has"});
  };
  EXPECT_EQ(run_forked(2, body), kBothPass);
}

TEST(NcclLinks, OtherCountsAreAnError) {
  const auto body = [](World& world) {
    Linked linked(world);
    const OwnedTensor tensor = linked.floats(5 + world.rank(), 1.0F);
    std::span<const Tensor> sent(&tensor.tensor, 1), received;
    if (world.rank() == 1) std::swap(sent, received);
    testing::expect_error(
        [&] {
          linked.link.exchange(sent, received, *linked.stream);
          linked.wait();
        },
        {"NCCL", "invalid usage", "the other end has"});
  };
  EXPECT_EQ(run_forked(2, body), kBothPass);
}

TEST(NcclLinks, ACallThatIsCapturedAtOneEndOnlyIsAnError) {
  const auto body = [](World& world) {
    Linked linked(world);
    const OwnedTensor tensor = linked.floats(5, 1.0F);
    std::unique_ptr<Graph> graph;
    const auto exchange = [&] {
      if (world.rank() == 1) {
        return linked.link.exchange({}, {&tensor.tensor, 1}, *linked.stream);
      }
      Stream* const streams[] = {linked.stream.get()};
      graph = Graph::capture(streams, [&] {
        linked.link.exchange({&tensor.tensor, 1}, {}, *linked.stream);
      });
      graph->launch(*linked.stream);
    };
    testing::expect_error(
        [&] {
          exchange();
          linked.wait();
        },
        {"NCCL", "captured"});
  };
  EXPECT_EQ(run_forked(2, body), kBothPass);
}

TEST(NcclLinks, AGraphThatOutlivesItsCommunicatorIsAFault) {
  const auto body = [](World& world) {
    std::unique_ptr<Graph> graph;
    {
      Linked linked(world);
      const OwnedTensor tensor = linked.floats(5, 1.0F);
      Stream* const streams[] = {linked.stream.get()};
      graph = Graph::capture(streams, [&] {
        linked.link.exchange({&tensor.tensor, 1}, {&tensor.tensor, 1}, *linked.stream);
      });
    }
    EXPECT_EQ(simulated::nccl_faults(), 1);
  };
  EXPECT_EQ(run_forked(2, body), kBothPass);
}

// A send waits for its receive at any size, as this one does, which nobody posts.
TEST(NcclLinks, ASendThatNobodyReceivesEndsWithPatience) {
  const auto body = [](World& world) {
    Linked linked(world, std::chrono::milliseconds(300));
    const OwnedTensor tensor = linked.floats(1, 1.0F);
    if (world.rank() == 0) linked.link.exchange({&tensor.tensor, 1}, {}, *linked.stream);
    if (world.rank() == 0) {
      testing::expect_error([&] { linked.wait(); }, {"its end within 0.3 s"});
      testing::expect_error(
          [&] {
            linked.link.exchange({&tensor.tensor, 1}, {}, *linked.stream);
          },
          {"aborted"});
    }
  };
  EXPECT_EQ(run_forked(2, body), kBothPass);
}

TEST(NcclLinks, AnAbortedJobEndsWhatWaits) {
  const auto body = [](World& world) {
    Linked linked(world);
    const OwnedTensor tensor = linked.floats(1, 1.0F);
    if (world.rank() == 0) {
      linked.link.exchange({}, {&tensor.tensor, 1}, *linked.stream);
      testing::expect_error([&] { linked.wait(); }, {"the disk is full"});
    } else {
      world.abort(std::make_exception_ptr(Error("writing", "room", "the disk is full")));
    }
  };
  EXPECT_EQ(run_forked(2, body), kBothPass);
}

}  // namespace
}  // namespace stagecoach
