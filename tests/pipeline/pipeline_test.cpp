// The same bits for every number of stages, schedule, partition and number of threads; evaluation;
// gradients; memory; traces.
#include "pipeline/pipeline.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "pipeline/schedule/check.h"
#include "tests/pipeline/schedule/table_text.h"
#include "tests/pipeline/small_job.h"

namespace stagecoach {
namespace {

using testing::Job;
using testing::kMicroBatchRows;
using testing::on_ranks;
using testing::one_stage_a_rank;
using testing::Outcome;
using testing::plain_outcome;
using testing::small_adam;
using testing::small_options;
using testing::small_sgd;
using testing::SmallBatch;

constexpr int kSteps = 3;

// Cuts of the 12 layers: in the middle of what works in place, before and after layers with
// parameters, and with a first stage that has none of its own.
const std::vector<std::vector<int>> kCuts = {
    {},
    {6},
    {1},
    {10},
    {4, 8},
    {1, 2},
    {3, 9},
    {2, 5, 9},
    {1, 4, 11},
    {8, 9, 10},
    {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
};

std::string describe(const PipelineOptions& options) {
  return fmt::format("{}, M = {}, {} threads, cuts {}", options.schedule.name,
                     options.schedule.micro_batches, options.target.threads,
                     fmt::join(options.partition.first, ","));
}

// The high-water mark of every stage is what was planned for it.
void expect_planned_memory(const TrainingLoop& loop) {
  for (const auto& stage : loop.stages()) {
    EXPECT_EQ(stage->arena().peak_bytes(), stage->memory_plan().arena.bytes());
  }
}

void expect_outcome(const PipelineOptions& options, const Outcome& expected) {
  SCOPED_TRACE(describe(options));
  Job<Pipeline> job(options);
  job.train(1);
  expect_planned_memory(job.loop);
  job.train(kSteps - 1, 1);
  EXPECT_EQ(job.outcome.losses, expected.losses);
  EXPECT_EQ(job.outcome.correct, expected.correct);
  EXPECT_EQ(job.outcome.gradients, expected.gradients);
  EXPECT_EQ(job.outcome.weights, expected.weights);
}

class SameBits : public ::testing::TestWithParam<int> {};

TEST_P(SameBits, ForEveryCutScheduleAndNumberOfThreads) {
  const int micro_batches = GetParam();
  const Outcome expected = plain_outcome(micro_batches, small_sgd(), kSteps);
  ASSERT_NE(expected.losses[0], expected.losses[1]);
  for (const std::vector<int>& cuts : kCuts) {
    const int stages = static_cast<int>(cuts.size()) + 1;
    for (const std::string& name : one_stage_a_rank()) {
      for (const int threads : {1, 2}) {
        const Schedule schedule = make_schedule(name, stages, micro_batches);
        expect_outcome(small_options(schedule, cuts, threads), expected);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(SameBits, WithAdam) {
  const int micro_batches = GetParam();
  const Outcome expected = plain_outcome(micro_batches, small_adam(), kSteps);
  EXPECT_NE(expected.weights, plain_outcome(micro_batches, small_sgd(), kSteps).weights);
  for (const std::vector<int>& cuts : kCuts) {
    const int stages = static_cast<int>(cuts.size()) + 1;
    const Schedule schedule = one_f_one_b_schedule(stages, micro_batches);
    expect_outcome(small_options(schedule, cuts, 1, small_adam()), expected);
  }
}

TEST_P(SameBits, WithSeveralStagesOnARank) {
  const int micro_batches = GetParam();
  const Outcome expected = plain_outcome(micro_batches, small_sgd(), kSteps);
  struct Placement {
    std::vector<int> cuts, rank_of;
  };
  const std::vector<Placement> placements = {{{6}, {0, 0}},
                                             {{2, 5, 9}, {0, 1, 0, 1}},
                                             {{1, 4, 8}, {0, 0, 1, 1}},
                                             {{1, 4, 8}, {0, 1, 1, 0}},
                                             {{3, 8}, {1, 0, 1}}};
  for (const Placement& placement : placements) {
    const int stages = static_cast<int>(placement.rank_of.size());
    for (const std::string& name : one_stage_a_rank()) {
      for (unsigned seed = 0; seed < 3; ++seed) {
        const Schedule schedule =
            on_ranks(make_schedule(name, stages, micro_batches), placement.rank_of, seed);
        expect_outcome(small_options(schedule, placement.cuts, 2), expected);
        if (HasFailure()) return;
      }
    }
  }
}

// Every schedule, also those with several stages on a rank, for up to 8 ranks; and again with F
// run a second time.
TEST(SameBitsOfSchedules, ForUpToEightRanks) {
  const auto layers = testing::many_layers();
  const Network network{"many", layers};
  for (const int micro_batches : {1, 3, 8, 16}) {
    Job<PlainLoop> plain(
        small_options(naive_schedule(1, micro_batches), {}, 1, small_sgd(), network.size()),
        network);
    plain.train(2);
    for (const std::string& name : schedule_names()) {
      for (const int ranks : {1, 2, 3, 8}) {
        Schedule schedule;
        try {
          schedule = make_schedule(name, ranks, micro_batches);
        } catch (const UsageError&) {  // not with so few micro-batches
          continue;
        }
        for (const Recompute mode :
             {Recompute::kNever, Recompute::kExceptLast, Recompute::kAlways}) {
          SCOPED_TRACE(fmt::format("{}, {} ranks, M = {}, recompute {}", name, ranks, micro_batches,
                                   static_cast<int>(mode)));
          const auto cuts = testing::even_cuts(network.size(), schedule.stages);
          Job<Pipeline> job(
              small_options(with_recompute(schedule, mode), cuts, 1, small_sgd(), network.size()),
              network);
          job.train(2);
          expect_planned_memory(job.loop);
          ASSERT_EQ(job.outcome, plain.outcome);
        }
      }
    }
  }
}

// Layers recomputed in runs of a few.
TEST(SameBitsOfSchedules, ForEveryRecomputeInterval) {
  const Outcome expected = plain_outcome(5, small_sgd(), kSteps);
  for (const char* name : {"naive", "gpipe", "1f1b"}) {
    for (const std::vector<int>& cuts : kCuts) {
      const int stages = static_cast<int>(cuts.size()) + 1;
      const Schedule schedule = with_recompute(make_schedule(name, stages, 5), Recompute::kAlways);
      for (const int interval : {1, 2, 3, 5}) {
        SCOPED_TRACE(interval);
        PipelineOptions options = small_options(schedule, cuts, 2);
        options.recompute_interval = interval;
        expect_outcome(options, expected);
        if (HasFailure()) return;
      }
    }
  }
}

TEST(Pipeline, RecomputeTakesLessMemory) {
  const auto bytes = [](Recompute mode, int interval) {
    PipelineOptions options = small_options(with_recompute(gpipe_schedule(2, 8), mode), {6});
    options.recompute_interval = interval;
    const Job<Pipeline> job(options);
    return job.loop.stages()[0]->memory_plan().arena.bytes();
  };
  const std::int64_t never = bytes(Recompute::kNever, 0);
  const std::int64_t but_last = bytes(Recompute::kExceptLast, 0);
  const std::int64_t always = bytes(Recompute::kAlways, 0);
  EXPECT_LT(but_last, never);
  EXPECT_LT(always, but_last);
}

TEST(Pipeline, RefusesAnIntervalWhereWRunsApart) {
  const auto error = [](const Schedule& schedule) {
    PipelineOptions options = small_options(schedule, {6});
    options.recompute_interval = 2;
    return error_of([&] { Job<Pipeline>{options}; });
  };
  EXPECT_EQ(error(with_recompute(gpipe_schedule(2, 2), Recompute::kExceptLast)),
            "Pipeline: expected an R and a BW for each of 4 micro-batches of all stages, as layers "
            "are recomputed in runs of 2, got 2 and 4");
  EXPECT_EQ(error(with_recompute(table(2, 1, {"0F0 0B0 0W0", "1F0 1BW0"}), Recompute::kAlways)),
            "Pipeline: expected an R and a BW for each of 2 micro-batches of all stages, as layers "
            "are recomputed in runs of 2, got 2 and 1");
}

INSTANTIATE_TEST_SUITE_P(MicroBatches, SameBits, ::testing::Values(1, 2, 5),
                         [](const auto& test) { return std::to_string(test.param); });

TEST(PlainLoop, GivesTheSameBitsWithMoreThreads) {
  Job<PlainLoop> job(small_options(naive_schedule(1, 2), {}, 3));
  job.train(kSteps);
  EXPECT_EQ(job.outcome, plain_outcome(2, small_sgd(), kSteps));
}

// W after all B of a stage: more gradient slots than one.
TEST(Pipeline, WeightsLate) {
  const Schedule schedule =
      table(2, 3, {"0F0 0F1 0B0 0B1 0W0 0W1 0F2 0B2 0W2", "1F0 1B0 1F1 1B1 1W0 1W1 1F2 1B2 1W2"});
  EXPECT_EQ(check(schedule).buffers().gradient_slots, (std::vector<int>{2, 2}));
  expect_outcome(small_options(schedule, {5}), plain_outcome(3, small_sgd(), kSteps));
}

// A stage that is slower than its neighbours makes them run ahead as far as they may: into buffers
// that it still reads, if they may too far.
TEST(Pipeline, SameBitsWhenAStageIsSlow) {
  const Outcome expected = plain_outcome(6, small_sgd(), 1);
  for (const int slow_layer : {0, 4, 8}) {  // on stage 0, 1, 2
    for (const ActionKind slow_kind :
         {ActionKind::kForward, ActionKind::kBackwardInput, ActionKind::kBackwardWeight}) {
      for (const std::string& name : one_stage_a_rank()) {
        const auto sleep = [] { std::this_thread::sleep_for(std::chrono::milliseconds(1)); };
        Job<Pipeline> job(small_options(make_schedule(name, 3, 6), {4, 8}),
                          testing::hooked_network(
                              slow_layer, [=](Context& context, ActionKind kind, std::int64_t) {
                                if (kind == slow_kind) context.stream().enqueue(sleep);
                              }));
        job.train(1);
        EXPECT_EQ(job.outcome, expected) << name << ", layer " << slow_layer;
      }
    }
  }
}

TEST(Pipeline, SlotsAreThoseOfTheSchedule) {
  constexpr int kStages = 3, kMicroBatches = 5;
  const auto slots = [&](const char* name, int stage) {
    const Job<Pipeline> job(small_options(make_schedule(name, kStages, kMicroBatches), {4, 8}));
    const MemoryPlan& plan = job.loop.stages()[stage]->memory_plan();
    return plan.arena.regions()[plan.slots].count;
  };
  for (int stage = 0; stage < kStages; ++stage) {
    EXPECT_EQ(slots("gpipe", stage), kMicroBatches);
    EXPECT_EQ(slots("1f1b", stage), kStages - stage);
    EXPECT_EQ(slots("naive", stage), 1);
  }
}

TEST(Pipeline, EvaluationGivesTheSameLossesAndLeavesTheWeights) {
  Job<PlainLoop> plain(small_options(naive_schedule(1, 5), {}));
  plain.train(1);
  const auto trained = plain.weights();
  plain.evaluate();
  plain.evaluate();
  EXPECT_EQ(plain.outcome.losses[1], plain.outcome.losses[2]);  // no dropout
  EXPECT_EQ(plain.weights(), trained);
  plain.train(1, 1);
  EXPECT_NE(plain.weights(), trained);
  std::vector<Schedule> schedules;
  for (const std::string& name : one_stage_a_rank()) {
    schedules.push_back(make_schedule(name, 4, 5));
    schedules.push_back(on_ranks(schedules.back(), {0, 1, 0, 1}, 1));
  }
  for (const Schedule& schedule : schedules) {
    Job<Pipeline> job(small_options(schedule, {2, 5, 9}));
    job.train(1);
    job.evaluate();
    job.evaluate();
    EXPECT_EQ(job.weights(), trained);
    job.train(1, 1);
    EXPECT_EQ(job.outcome, plain.outcome) << schedule.name;
    expect_planned_memory(job.loop);
  }
}

TEST(Pipeline, StepWithoutOptimizerGivesGradientsOnly) {
  Job<Pipeline> job(small_options(gpipe_schedule(3, 2), {4, 8}));
  const auto before = job.weights();
  const double loss = job.loss(SmallBatch(2, 1));
  EXPECT_EQ(job.weights(), before);
  EXPECT_EQ(job.loss(SmallBatch(2, 1)), loss);
  for (const TraceEvent& event : job.loop.trace({}, 0)) {
    EXPECT_NE(event.kind, TraceKind::kOptimizer);
  }
}

double norm_of(const Tensor& tensor) {
  double sum = 0;
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    sum += static_cast<double>(tensor.as<float>()[i]) * tensor.as<float>()[i];
  }
  return std::sqrt(sum);
}

// How fast the loss grows where `parameter` moves along `direction`.
double slope_along(Job<Pipeline>& job, const SmallBatch& batch, const Tensor& parameter,
                   const Tensor& direction) {
  constexpr double kDistance = 2e-3;
  const OwnedTensor middle = testing::copy_of(parameter);
  const double unit = norm_of(direction);
  const auto loss_at = [&](double distance) {
    for (std::int64_t i = 0; i < parameter.elements(); ++i) {
      const double moved =
          middle.tensor.as<float>()[i] + distance * direction.as<float>()[i] / unit;
      parameter.as<float>()[i] = static_cast<float>(moved);
    }
    return job.loss(batch);
  };
  const double slope = (loss_at(kDistance) - loss_at(-kDistance)) / (2 * kDistance);
  loss_at(0);
  return slope;
}

// Along the gradient the loss grows by its norm; along a random direction by their product.
TEST(Pipeline, GradientAgreesWithFiniteDifferences) {
  Job<Pipeline> job(small_options(one_f_one_b_schedule(3, 3), {4, 8}, 2));
  const SmallBatch batch(3, 4);
  job.loss(batch);
  const std::vector<Stage::Parameter> parameters = job.parameters();
  std::vector<OwnedTensor> gradients;
  for (const Stage::Parameter& parameter : parameters) {
    gradients.push_back(testing::copy_of(parameter.grad));
  }
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    const Stage::Parameter& parameter = parameters[i];
    const Tensor gradient = gradients[i].tensor;
    const OwnedTensor random = testing::random_tensor(gradient.spec, i);
    const double norm = norm_of(gradient);
    EXPECT_GT(norm, 0.01) << parameter.name;
    double product = 0;
    for (std::int64_t k = 0; k < gradient.elements(); ++k) {
      product += static_cast<double>(gradient.as<float>()[k]) * random.tensor.as<float>()[k];
    }
    product /= norm_of(random.tensor);
    EXPECT_NEAR(slope_along(job, batch, parameter.value, gradient), norm, 0.01 * norm)
        << parameter.name;
    EXPECT_NEAR(slope_along(job, batch, parameter.value, random.tensor), product, 0.01 * norm)
        << parameter.name;
  }
}

TEST(Pipeline, RefusesAPlanThatCannotFit) {
  PipelineOptions options = small_options(gpipe_schedule(2, 2), {6});
  options.other_bytes = std::int64_t{1} << 50;
  const std::string pipeline = error_of([&] { Job<Pipeline>{options}; });
  EXPECT_TRUE(pipeline.starts_with("memory: expected at most ")) << pipeline;
  EXPECT_NE(pipeline.find(" GiB, which this machine has left, for the plan, got 1048576.0 GiB; "),
            std::string::npos)
      << pipeline;
  const std::string plain = error_of([&] { Job<PlainLoop>{options}; });
  EXPECT_NE(plain.find("got 1048576.0 GiB"), std::string::npos) << plain;
}

TEST(Pipeline, RefusesWhatDoesNotFitTogether) {
  EXPECT_EQ(error_of([] { Job<Pipeline>{small_options(gpipe_schedule(3, 2), {6})}; }),
            "Pipeline: expected a partition of 12 layers into 3 stages, got 12 layers into 2");
  EXPECT_EQ(error_of([] {
              Job<Pipeline>{small_options(table(2, 1, {"0F0 0W0 0B0", "1F0 1B0 1W0"}), {6})};
            }),
            "check: expected 0B0 before 0W0, got rank 0, position 2: 0W0, and that after it");
  Job<Pipeline> job(small_options(gpipe_schedule(2, 2), {6}));
  const SmallBatch small(1, 0);
  EXPECT_EQ(error_of([&] { job.loop.run(small.evaluation()); }),
            "rank 0, stage 0, F of micro-batch 0: Stage::forward: expected input "
            "F32 [3, 3, 16, 16] channels_last, got F32 [1, 3, 16, 16] channels_last");
}

}  // namespace
}  // namespace stagecoach
