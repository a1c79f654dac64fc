// Streams, events, graphs, copies and buffers of a GPU.
#include "core/stream.h"

#include <gtest/gtest.h>

#include "core/copy.h"
#include "core/graph.h"
#include "kernels/relu.h"
#include "kernels/uniform.h"
#include "tests/cuda/both.h"
#include "tests/kernels/checks.h"

namespace stagecoach {
namespace {

using testing::expect_error;
using testing::kGpu;
using testing::random_tensor;
using testing::values_of;

TEST(StreamShim, OrdersTwoStreamsByEvents) {
  const TensorSpec spec = row_major({100000});
  Context first(Target(1, kGpu)), second(Target(1, kGpu));
  const OwnedTensor made(spec, kGpu), read(spec, kGpu);
  for (int i = 0; i < 20; ++i) {
    Event written, taken;
    fill_uniform(first, made.tensor, 1.0f, {.seed = static_cast<std::uint64_t>(i)});
    first.stream().record(written);
    second.stream().wait(written);
    copy(second.stream(), read.tensor, made.tensor);
    second.stream().record(taken);
    first.stream().wait(taken);
  }
  const OwnedTensor expected(spec);
  Context cpu;
  fill_uniform(cpu, expected.tensor, 1.0f, {.seed = 19});
  cpu.stream().synchronize();
  EXPECT_EQ(values_of(to_host(second.stream(), read.tensor).tensor), values_of(expected.tensor));
}

TEST(StreamShim, EventsHaveTimesInTheirOrder) {
  Context context(Target(1, kGpu));
  const OwnedTensor tensor(row_major({10000}), kGpu);
  std::vector<Event> events(10);
  const Clock::time_point before = Clock::now();
  for (Event& event : events) {
    relu_forward(context, tensor.tensor, tensor.tensor);
    context.stream().record(event, EventUse::kTime);
  }
  events.back().synchronize();
  const Clock::time_point after = Clock::now();
  for (std::size_t i = 0; i < events.size(); ++i) {
    EXPECT_TRUE(events[i].reached());
    EXPECT_GE(events[i].time(), events[i > 0 ? i - 1 : 0].time());
  }
  // The two clocks are tied to within a fraction of a millisecond, on a machine that is idle.
  EXPECT_GT(events.front().time(), before - std::chrono::milliseconds(200));
  EXPECT_LT(events.back().time(), after + std::chrono::milliseconds(200));
}

TEST(StreamShim, WaitsForACpuStream) {
  Context cpu;
  Context gpu(Target(1, kGpu));
  const OwnedTensor host(row_major({3})), device(row_major({3}), kGpu);
  Event ready;
  cpu.stream().enqueue([&] { host.tensor.as<float>()[1] = 5.0f; });
  cpu.stream().record(ready);
  gpu.stream().wait(ready);
  copy(gpu.stream(), device.tensor, host.tensor);
  EXPECT_EQ(values_of(to_host(gpu.stream(), device.tensor).tensor), (std::vector<float>{0, 5, 0}));
}

TEST(StreamShim, RunsNoTasksOfTheHost) {
  Context context(Target(1, kGpu));
  expect_error([&] { context.stream().enqueue([] {}); },
               {"Stream::enqueue", "a stream of the CPU", "cuda:0"});
}

TEST(BufferShim, IsZeroAndAligned) {
  Context context(Target(1, kGpu));
  const OwnedTensor tensor(row_major({1000}), kGpu);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.tensor.data) % Buffer::kAlignment, 0u);
  EXPECT_EQ(values_of(to_host(context.stream(), tensor.tensor).tensor),
            std::vector<float>(1000, 0.0f));
  const Buffer pinned = Buffer::pinned(64, {DeviceType::kCuda, 0});
  EXPECT_EQ(pinned.device(), Device{});
  EXPECT_EQ(static_cast<const char*>(pinned.data())[63], 0);
}

TEST(CopyShim, RefusesOtherSizesAndDevices) {
  Context gpu(Target(1, kGpu)), cpu;
  const OwnedTensor a(row_major({3}), kGpu), b(row_major({4}), kGpu);
  expect_error([&] { copy(gpu.stream(), a.tensor, b.tensor); }, {"copy", "16 bytes"});
  expect_error([&] { copy(cpu.stream(), a.tensor, a.tensor); }, {"copy", "stream of the GPU"});
}

// y = relu(x) on one stream, z = y on another; x changes between the launches.
TEST(GraphShim, IsLaunchedAgainOnWhatMemoryHoldsThen) {
  const TensorSpec spec = row_major({5000});
  Context first(Target(1, kGpu)), second(Target(1, kGpu));
  const OwnedTensor x(spec, kGpu), y(spec, kGpu), z(spec, kGpu);
  Event done;
  Stream* streams[] = {&first.stream(), &second.stream()};
  relu_forward(first, y.tensor, x.tensor);  // the driver loads a kernel when it first runs
  const auto graph = Graph::capture(streams, [&] {
    Event ready;
    relu_forward(first, y.tensor, x.tensor);
    first.stream().record(ready);
    second.stream().wait(ready);
    copy(second.stream(), z.tensor, y.tensor);
    second.stream().record(done, EventUse::kTime);
  });
  EXPECT_EQ(values_of(to_host(first.stream(), z.tensor).tensor), std::vector<float>(5000, 0.0f))
      << "a capture runs nothing";
  Clock::time_point last;
  for (int i = 0; i < 3; ++i) {
    const OwnedTensor input = random_tensor(spec, static_cast<std::uint64_t>(i));
    copy(first.stream(), x.tensor, input.tensor);
    graph->launch(first.stream());
    std::vector<float> expected = values_of(input.tensor);
    for (float& value : expected) value = std::max(value, 0.0f);
    EXPECT_EQ(values_of(to_host(first.stream(), z.tensor).tensor), expected) << i;
    EXPECT_GT(done.time(), last) << "recorded by each launch";
    last = done.time();
  }
}

TEST(GraphShim, AFailedCaptureLeavesTheStreamsUsable) {
  Context context(Target(1, kGpu));
  const OwnedTensor tensor(row_major({10}), kGpu);
  Stream* streams[] = {&context.stream()};
  expect_error([&] { Graph::capture(streams, [] { throw Error("here", "this", "that"); }); },
               {"here: expected this"});
  // Memory may not be allocated in a capture: the driver says so, and so does the error.
  expect_error([&] { Graph::capture(streams, [] { OwnedTensor(row_major({10}), kGpu); }); },
               {"cudaErrorStreamCapture"});
  relu_forward(context, tensor.tensor, tensor.tensor);
  context.stream().synchronize();
}

}  // namespace
}  // namespace stagecoach
