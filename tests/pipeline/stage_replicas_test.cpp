// Stages with different numbers of replicas train with the bits of one of each.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "core/error.h"
#include "tests/kernels/checks.h"
#include "tests/pipeline/residual_job.h"
#include "tests/pipeline/small_job.h"

namespace stagecoach {
namespace {

using testing::Job;
using testing::Outcome;
using testing::small_options;

constexpr int kSteps = 2, kMicroBatches = 8, kGroups = 4;  // of all replicas

PipelineOptions in_groups(PipelineOptions options) {
  options.gradient_groups = kGroups;
  return options;
}

PipelineOptions replicated(const char* schedule, const std::vector<int>& replicas,
                           const std::vector<int>& cuts) {
  const int most = *std::ranges::max_element(replicas);
  return in_groups(
      small_options(make_replicated_schedule(schedule, replicas, kMicroBatches / most), cuts));
}

PipelineOptions plain_options() {
  return in_groups(small_options(naive_schedule(1, kMicroBatches), {}));
}

template <typename Loop>
Outcome outcome_of(const PipelineOptions& options) {
  Job<Loop> job(options);
  job.train(kSteps);
  job.evaluate();
  return job.outcome;
}

struct Layout {
  std::vector<int> replicas, cuts;
};
const std::vector<Layout> kLayouts = {{{2, 1}, {6}},       {{1, 2}, {6}},      {{4, 1}, {6}},
                                      {{1, 4}, {3}},       {{4, 2}, {8}},      {{2, 2}, {6}},
                                      {{4, 1, 2}, {2, 7}}, {{1, 4, 1}, {4, 9}}};

std::string name_of(const char* schedule, const Layout& layout) {
  return fmt::format("{}, replicas {}", schedule, fmt::join(layout.replicas, ","));
}

TEST(StageReplicas, SameBitsForAnyNumberOfEachStage) {
  const Outcome expected = outcome_of<PlainLoop>(plain_options());
  for (const char* schedule : {"naive", "gpipe", "1f1b"}) {
    for (const Layout& layout : kLayouts) {
      EXPECT_EQ(outcome_of<Pipeline>(replicated(schedule, layout.replicas, layout.cuts)), expected)
          << name_of(schedule, layout);
    }
  }
}

TEST(StageReplicas, SameBitsWithRecomputationAndInSegments) {
  const Outcome expected = outcome_of<PlainLoop>(plain_options());
  for (const Layout& layout : {kLayouts[0], kLayouts[1], kLayouts[4]}) {
    for (const Recompute mode : {Recompute::kExceptLast, Recompute::kAlways}) {
      PipelineOptions options = replicated("1f1b", layout.replicas, layout.cuts);
      options.schedule = with_recompute(options.schedule, mode);
      if (mode == Recompute::kAlways) options.recompute_interval = 2;
      EXPECT_EQ(outcome_of<Pipeline>(options), expected) << name_of("1f1b", layout);
    }
  }
}

TEST(StageReplicas, SameBitsHoweverTheUpdateIsShared) {
  for (const double clip_norm : {0.0, 0.05}) {
    PipelineOptions plain = plain_options();
    plain.optimizer = testing::small_adam();
    plain.clip_norm = clip_norm;
    Job<PlainLoop> expected(plain);
    expected.train(kSteps);
    for (const Layout& layout : kLayouts) {
      for (const bool shards : {false, true}) {
        for (const bool overlaps : {false, true}) {
          PipelineOptions options = replicated("1f1b", layout.replicas, layout.cuts);
          options.optimizer = testing::small_adam();
          options.clip_norm = clip_norm;
          options.shards_optimizer = shards;
          options.overlaps_update = overlaps;
          options.bucket_bytes = 2000;
          Job<Pipeline> job(options);
          job.train(kSteps);
          if (shards) job.outcome.gradients = expected.outcome.gradients;
          EXPECT_EQ(job.outcome, expected.outcome) << name_of("1f1b", layout);
          EXPECT_EQ(job.optimizer_states(), expected.optimizer_states());
          EXPECT_EQ(job.loop.gradient_norm(kSteps - 1), expected.loop.gradient_norm(kSteps - 1));
          EXPECT_TRUE(job.loop.stages_agree());
        }
      }
    }
  }
}

// Copies of such a table, too: a stage then has as many replicas as both make.
TEST(StageReplicas, CopiesOfTheTable) {
  const Outcome expected = outcome_of<PlainLoop>(plain_options());
  PipelineOptions options =
      in_groups(small_options(make_replicated_schedule("1f1b", {2, 1}, 2), {6}));
  options.replicas = 2;
  options.loss_rows *= 2;
  EXPECT_EQ(outcome_of<Pipeline>(options), expected);
}

// Groups one after the other on the stage that is there once: a table by hand.
TEST(StageReplicas, AnyOrderThatACheckedTableHas) {
  PipelineOptions options = replicated("gpipe", {2, 1}, {6});
  std::ranges::stable_sort(options.schedule.ranks[2], {}, [](const Action& action) {
    return std::pair(action.kind == ActionKind::kBackward, action.micro_batch);
  });
  EXPECT_EQ(outcome_of<Pipeline>(options), outcome_of<PlainLoop>(plain_options()));
}

TEST(StageReplicas, ThePlannedMemoryIsWhatIsUsed) {
  const PipelineOptions options = replicated("1f1b", {4, 1}, {6});
  Job<Pipeline> job(options);
  job.train(1);
  for (const auto& stage : job.loop.stages()) {
    EXPECT_EQ(stage->arena().peak_bytes(), stage->memory_plan().arena.bytes());
  }
  EXPECT_EQ(job.loop.stages().size(), 2u);
}

TEST(StageReplicas, AnErrorNamesTheReplica) {
  PipelineOptions options = replicated("1f1b", {2, 1}, {6});
  std::atomic<int> calls = 0;
  Job<Pipeline> job(options,
                    testing::hooked_network(3, [&](Context&, ActionKind kind, std::int64_t) {
                      if (kind == ActionKind::kForward && ++calls == 8) {
                        throw Error("layer", "no failure", "this one");
                      }
                    }));
  testing::expect_error([&] { job.train(1); },
                        {"replica ", ", rank ", "stage 0, F of micro-batch ", "this one"});
}

TEST(StageReplicas, WhatTheyNeedIsRefusedInWords) {
  PipelineOptions options = replicated("1f1b", {4, 1}, {6});
  options.gradient_groups = 2;
  testing::expect_error([&] { Job<Pipeline> job(options); },
                        {"a power of two replicas that divides the 2 gradient groups", "4"});
  PipelineOptions statistics =
      testing::residual_options(make_replicated_schedule("1f1b", {2, 1}, 2));
  statistics.gradient_groups = 2;
  testing::expect_error([&] { testing::ResidualJob job(statistics, testing::residual_network()); },
                        {"layers without statistics of a batch"});
}

}  // namespace
}  // namespace stagecoach
