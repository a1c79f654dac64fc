// Several replicas of a pipeline train as one: with the bits of one, whose batch is theirs
// together.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <thread>

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

// The ways to share the work of an update: whose optimizer's states, and when gradients are summed.
struct Sharing {
  bool shards_optimizer, overlaps_sum;
  std::int64_t bucket_bytes;
};
constexpr Sharing kSharings[] = {
    {true, false, kBucketBytes}, {false, true, 1}, {false, true, 2000}, {true, true, 1}};

PipelineOptions shared(PipelineOptions options, const Sharing& sharing) {
  options.shards_optimizer = sharing.shards_optimizer;
  options.overlaps_update = sharing.overlaps_sum;
  options.bucket_bytes = sharing.bucket_bytes;
  return options;
}

TEST(Replicas, SameBitsHoweverTheUpdateIsShared) {
  for (const auto& optimizer : {testing::small_sgd(), testing::small_adam()}) {
    for (const double clip_norm : {0.0, 0.05}) {
      PipelineOptions plain = plain_options();
      plain.optimizer = optimizer;
      plain.clip_norm = clip_norm;
      Job<PlainLoop> expected(plain);
      expected.train(kSteps);
      expected.evaluate();
      for (const Sharing& sharing : kSharings) {
        for (const int replicas : {2, 4}) {
          for (const char* schedule : {"1f1b", "zb-h1"}) {
            PipelineOptions options = shared(replicated(schedule, {6}, replicas), sharing);
            options.optimizer = optimizer;
            options.clip_norm = clip_norm;
            Job<Pipeline> job(options);
            job.train(kSteps);
            job.evaluate();
            // A share's gradients are the sum in one replica only.
            if (sharing.shards_optimizer) job.outcome.gradients = expected.outcome.gradients;
            EXPECT_EQ(job.outcome, expected.outcome)
                << replicas << " replicas, " << schedule << ", " << optimizer->name()
                << (sharing.shards_optimizer ? ", sharded" : "")
                << (sharing.overlaps_sum ? ", beside W" : "");
            EXPECT_EQ(job.optimizer_states(), expected.optimizer_states());
            EXPECT_TRUE(job.loop.stages_agree());
          }
        }
      }
    }
  }
}

// With recomputation in runs of layers, too, whose W come one run after the other.
TEST(Replicas, SumsBesideWOfSeveralSegments) {
  PipelineOptions options = shared(replicated("1f1b", {6}, 2), {true, true, 1});
  options.schedule = with_recompute(options.schedule, Recompute::kAlways);
  options.recompute_interval = 2;
  Job<Pipeline> job(options);
  job.train(kSteps);
  job.evaluate();
  Outcome expected = plain_outcome();
  expected.gradients = job.outcome.gradients;
  EXPECT_EQ(job.outcome, expected);
}

// A replica keeps its share of the states, and the plan says so.
TEST(Replicas, ShardingSavesTheOthersStates) {
  const auto planned = [](bool shards, std::int64_t& elements) {
    PipelineOptions options = replicated("1f1b", {6}, 4);
    options.optimizer = testing::small_adam();
    options.shards_optimizer = shards;
    Job<Pipeline> job(options);
    job.train(1);
    std::int64_t bytes = 0;
    for (const auto& stage : job.loop.stages()) {
      bytes += stage->summary().planned_bytes;
      EXPECT_EQ(stage->summary().peak_bytes, stage->summary().planned_bytes);
      const GradientBucket& bucket = stage->memory_plan().buckets.at(0);
      const Elements share = share_of(bucket.elements, 4, 0);
      EXPECT_EQ(stage->memory_plan().updated.at(0), shards ? share : bucket.elements);
      elements += bucket.elements.size() - share.size();
    }
    return bytes;
  };
  std::int64_t elements = 0;  // that others update
  const std::int64_t saved = planned(false, elements) - planned(true, elements);
  EXPECT_NEAR(static_cast<double>(saved), 2.0 * 4 * static_cast<double>(elements) / 2,
              4 * Buffer::kAlignment);
}

// The sum of the last layers' gradients is made while W of the first ones still runs.
TEST(Replicas, SumsWhileOtherLayersCompute) {
  PipelineOptions options = shared(replicated("1f1b", {}, 2), {false, true, 1});
  const auto sleep = [](Context& context, ActionKind kind, std::int64_t micro) {
    if (kind != ActionKind::kBackwardWeight || micro + 1 < kMicroBatches / 2) return;
    context.stream().enqueue([] { std::this_thread::sleep_for(std::chrono::milliseconds(500)); });
  };
  Job<Pipeline> job(options, hooked_network(0, sleep));
  job.train(1);
  double last_weight = 0, first_sum = 1e9;
  for (const TraceEvent& event : job.loop.trace({}, 0)) {
    if (event.kind == TraceKind::kBackwardWeight) last_weight = std::max(last_weight, event.end);
    if (event.kind == TraceKind::kReduce) first_sum = std::min(first_sum, event.end);
  }
  EXPECT_LT(first_sum, last_weight);
}

// Between the waiting for the others' gradients and that for their shares of the sum.
TEST(Replicas, AddingIsNoPartOfWaiting) {
  Job<Pipeline> job(replicated("1f1b", {}, 2));
  job.train(1);
  std::vector<TraceKind> kinds;
  for (const TraceEvent& event : job.loop.trace({}, 0)) kinds.push_back(event.kind);
  using enum TraceKind;
  const std::vector<TraceKind> expected = {kWait, kReduce, kWait, kReduce, kOptimizer};
  ASSERT_GE(kinds.size(), expected.size());
  EXPECT_EQ(std::vector(kinds.end() - std::ssize(expected), kinds.end()), expected);
}

// SGD that takes its time for each part of the parameters.
class SlowOptimizer : public Optimizer {
 public:
  std::string_view name() const override { return sgd_->name(); }
  std::span<const OptimizerState> states() const override { return sgd_->states(); }
  StepValues values(std::int64_t step) const override { return sgd_->values(step); }
  void step(Context& context, const FlatShard& shard) const override {
    sgd_->step(context, shard);
    context.stream().enqueue([] { std::this_thread::sleep_for(std::chrono::milliseconds(50)); });
  }

 private:
  const testing::OptimizerPointer sgd_ = testing::small_sgd();
};

// Of parameters that replicas share, the first bucket is gathered while the next ones are updated.
TEST(Replicas, GathersWhileOtherParametersAreUpdated) {
  PipelineOptions options = shared(replicated("1f1b", {}, 2), {true, true, 1});
  options.optimizer = std::make_shared<SlowOptimizer>();
  Job<Pipeline> job(options);
  job.train(1);
  ASSERT_GT(job.loop.stages()[0]->memory_plan().buckets.size(), 2U);
  const std::vector<TraceEvent> trace = job.loop.trace({}, 0);
  const auto update = std::ranges::find(trace, TraceKind::kOptimizer, &TraceEvent::kind);
  ASSERT_NE(update, trace.end());
  const auto gathered = std::ranges::count_if(trace, [&](const TraceEvent& event) {
    return event.kind == TraceKind::kReduce && event.start > update->start &&
           event.end < update->end;
  });
  EXPECT_GT(gathered, 0);
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
