// Several replicas of a pipeline train as one: with the bits of one, whose batch is theirs
// together.
#include <gtest/gtest.h>

#include <atomic>
#include <limits>

#include "core/error.h"
#include "tests/kernels/checks.h"
#include "tests/pipeline/small_job.h"

namespace stagecoach {
namespace {

using testing::hooked_network;
using testing::Job;
using testing::Outcome;
using testing::small_options;

constexpr int kSteps = 3, kMicroBatches = 8, kGroups = 4;  // of all replicas

// `options` for micro-batches that replicas have together.
PipelineOptions in_groups(PipelineOptions options, int replicas) {
  options.replicas = replicas;
  options.gradient_groups = kGroups;
  options.loss_rows *= replicas;
  return options;
}

PipelineOptions replicated(const char* schedule, const std::vector<int>& cuts, int replicas) {
  const int stages = static_cast<int>(cuts.size()) + 1;
  return in_groups(small_options(make_schedule(schedule, stages, kMicroBatches / replicas), cuts),
                   replicas);
}

PipelineOptions plain_options() {
  return in_groups(small_options(naive_schedule(1, kMicroBatches), {}), 1);
}

Outcome plain_outcome(const PipelineOptions& options = plain_options()) {
  Job<PlainLoop> plain(options);
  plain.train(kSteps);
  plain.evaluate();
  return plain.outcome;
}

TEST(Replicas, SameBitsForAnyNumberOfThem) {
  const Outcome expected = plain_outcome();
  for (const int replicas : {1, 2, 4}) {
    for (const std::vector<int>& cuts : {std::vector<int>{}, {6}, {2, 5, 9}}) {
      for (const char* schedule : {"naive", "gpipe", "1f1b", "zb-h1"}) {
        Job<Pipeline> job(replicated(schedule, cuts, replicas));
        job.train(kSteps);
        job.evaluate();
        EXPECT_EQ(job.outcome, expected)
            << replicas << " replicas of " << cuts.size() + 1 << " stages, " << schedule;
      }
    }
  }
}

TEST(Replicas, SameBitsWhereGradientsAreClipped) {
  PipelineOptions options = plain_options();
  options.clip_norm = 0.05;
  const Outcome expected = plain_outcome(options);
  ASSERT_NE(expected, plain_outcome());
  for (const int replicas : {2, 4}) {
    options = replicated("1f1b", {4, 8}, replicas);
    options.clip_norm = 0.05;
    Job<Pipeline> job(options);
    job.train(kSteps);
    job.evaluate();
    EXPECT_EQ(job.outcome, expected) << replicas << " replicas";
  }
}

// A table's own REDUCE_GRAD is where the sum is made; STEP does not make it again.
TEST(Replicas, ReduceWhereTheTableSays) {
  PipelineOptions options = replicated("1f1b", {6}, 2);
  for (auto& actions : options.schedule.ranks) {
    const int stage = actions.front().stage;
    actions.push_back({ActionKind::kReduceGradient, stage, -1});
    actions.push_back({ActionKind::kOptimizerStep, stage, -1});
  }
  Job<Pipeline> job(options);
  job.train(kSteps);
  job.evaluate();
  EXPECT_EQ(job.outcome, plain_outcome());
}

TEST(Replicas, ALossOfOneThatIsNotFiniteChangesNoWeightOfAny) {
  Job<Pipeline> job(replicated("1f1b", {6}, 2));
  testing::SmallBatch bad(kMicroBatches, 3);
  const std::int64_t image = bad.images.tensor.elements() / (kMicroBatches * 3);
  bad.images.tensor.as<float>()[16 * image] = std::numeric_limits<float>::infinity();
  try {
    job.loop.run(bad.input(0, job.options.optimizer.get()));
    ADD_FAILURE() << "no error";
  } catch (const NumericError& error) {
    EXPECT_NE(error.message().find("sample 1 of micro-batch 5"), std::string::npos)
        << error.message();
  }
  job.train(kSteps);
  job.evaluate();
  EXPECT_EQ(job.outcome, plain_outcome());
}

// And all others end.
TEST(Replicas, AnErrorSaysWhoseItIs) {
  bool fails = true;
  std::atomic<int> calls = 0;
  Job<Pipeline> job(replicated("1f1b", {6}, 2),
                    hooked_network(8, [&](Context& context, ActionKind kind, std::int64_t micro) {
                      if (!fails || kind != ActionKind::kForward || micro != 2) return;
                      const int call =
                          ++calls;  // that of one replica, then that of the other, or none
                      context.stream().enqueue([call] {
                        if (call == 1) throw Error("layer", "nothing", "this");
                      });
                    }));
  testing::expect_error([&] { job.train(1); }, {"replica ", "rank 1, stage 1, F of micro-batch 2"});
  fails = false;
  EXPECT_TRUE(job.loop.stages_agree());
  job.train(kSteps);
  job.evaluate();
  EXPECT_EQ(job.outcome, plain_outcome());
}

TEST(Replicas, RefusesWhatCannotBe) {
  const auto make = [](int replicas, int groups) {
    PipelineOptions options = small_options(make_schedule("1f1b", 2, 4), {6});
    options.replicas = replicas;
    options.gradient_groups = groups;
    Job<Pipeline> job(options);
  };
  testing::expect_error([&] { make(3, 3); }, {"a power of two replicas", "got 3"});
  testing::expect_error([&] { make(2, 1); }, {"divides the 1 gradient groups", "got 2"});
  testing::expect_error([&] { make(2, 16); }, {"divides the 4 micro-batches", "got 8"});
}

}  // namespace
}  // namespace stagecoach
