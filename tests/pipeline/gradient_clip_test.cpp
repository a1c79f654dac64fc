// Gradients clipped by the norm of all stages: the only thing in a step that every stage waits for.
#include "pipeline/gradient_clip.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "core/error.h"
#include "tests/pipeline/small_job.h"

namespace stagecoach {
namespace {

using testing::hooked_network;
using testing::Job;
using testing::on_ranks;
using testing::Outcome;
using testing::small_options;

constexpr int kSteps = 3, kMicroBatches = 4;

PipelineOptions clipped(PipelineOptions options) {
  options.clip_norm = 0.25;
  return options;
}

Outcome plain_outcome() {
  Job<PlainLoop> plain(clipped(small_options(naive_schedule(1, kMicroBatches), {})));
  plain.train(kSteps);
  EXPECT_GT(plain.loop.gradient_norm(kSteps - 1).value(), 0.25);
  return plain.outcome;
}

void expect_outcome(const PipelineOptions& options, const Outcome& expected) {
  Job<Pipeline> job(options);
  job.train(kSteps);
  EXPECT_EQ(job.outcome, expected) << options.schedule.name;
  for (const auto& stage : job.loop.stages()) {
    EXPECT_EQ(stage->arena().peak_bytes(), stage->memory_plan().arena.bytes());
  }
}

TEST(GradientClip, SameBitsForEveryCutAndSchedule) {
  const Outcome expected = plain_outcome();
  ASSERT_NE(expected, testing::plain_outcome(kMicroBatches, testing::small_sgd(), kSteps));
  const std::vector<std::vector<int>> cuts = {{},     {6},    {10},
                                              {4, 8}, {1, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}};
  for (const std::vector<int>& cut : cuts) {
    const int stages = static_cast<int>(cut.size()) + 1;
    for (const char* name : {"naive", "gpipe", "1f1b", "zb-h1"}) {
      const Schedule schedule = make_schedule(name, stages, kMicroBatches);
      expect_outcome(clipped(small_options(schedule, cut, 2)), expected);
    }
  }
}

TEST(GradientClip, SameBitsWithSeveralStagesOnARank) {
  const Outcome expected = plain_outcome();
  for (const std::vector<int>& ranks : {std::vector{0, 1, 0, 1}, {0, 0, 1, 1}, {0, 1, 1, 0}}) {
    const Schedule schedule = on_ranks(make_schedule("1f1b", 4, kMicroBatches), ranks, 1);
    expect_outcome(clipped(small_options(schedule, {2, 5, 9})), expected);
  }
}

// Whichever stage is last to know its gradients.
TEST(GradientClip, SameBitsWhenAStageIsSlow) {
  const Outcome expected = plain_outcome();
  for (const int layer : {0, 4, 8}) {
    Job<Pipeline> job(
        clipped(small_options(make_schedule("1f1b", 3, kMicroBatches), {4, 8})),
        hooked_network(layer, [](Context& context, ActionKind kind, std::int64_t micro) {
          if (kind != ActionKind::kBackwardWeight || micro + 1 < kMicroBatches) return;
          context.stream().enqueue(
              [] { std::this_thread::sleep_for(std::chrono::milliseconds(5)); });
        }));
    job.train(kSteps);
    EXPECT_EQ(job.outcome, expected) << "layer " << layer;
  }
}

// Nobody waits for ever for the norm of a stage that failed, nobody makes its step without it, and
// the next step is as if nothing had been.
TEST(GradientClip, AStageThatFailsEndsTheWait) {
  for (const int layer : {0, 4, 8}) {
    bool fails = true;
    Job<Pipeline> job(
        clipped(small_options(make_schedule("1f1b", 3, kMicroBatches), {4, 8})),
        hooked_network(layer, [&](Context&, ActionKind kind, std::int64_t micro) {
          if (fails && kind == ActionKind::kBackwardWeight && micro + 1 == kMicroBatches) {
            throw Error("hook", "no failure", "one");
          }
        }));
    const auto before = job.weights();
    EXPECT_THROW(job.train(1), Error);
    EXPECT_EQ(job.weights(), before) << "layer " << layer;
    EXPECT_TRUE(job.loop.stages_agree());
    fails = false;
    job.train(kSteps);
    EXPECT_EQ(job.outcome, plain_outcome()) << "layer " << layer;
  }
}

}  // namespace
}  // namespace stagecoach
