#include "trainer/statistics.h"

#include <gtest/gtest.h>

#include "pipeline/schedule/check.h"
#include "pipeline/schedule/text.h"
#include "tests/trainer/engine_run.h"
#include "tests/trainer/program_run.h"

namespace stagecoach {
namespace {

using testing::EngineRun;
using testing::small_config;

// Events of a stage, each from the end of the one before; as they are measured.
struct Row {
  int stage;
  double unit;  // seconds
  double now;
  std::vector<TraceEvent>* trace;
  std::int64_t step;

  Row& add(TraceKind kind, int micro_batch, double units) {
    trace->push_back({kind, stage, stage, micro_batch, step, now, now + units * unit});
    now += units * unit;
    return *this;
  }
  Row& wait(double units) { return add(TraceKind::kWait, 0, units); }
  Row& forward(int m) { return add(TraceKind::kForward, m, 1); }
  Row& backward(int m) {
    return add(TraceKind::kBackwardInput, m, 1).add(TraceKind::kBackwardWeight, m, 1);
  }
  Row& optimizer(double units) { return add(TraceKind::kOptimizer, -1, units); }
};

// 1F1B with K = 2 and M = 2, where F, B and W take one `unit` each and begin as early as they can:
//   stage 0  F0 F1 .  .  B0 W0 .  B1 W1 optimizer
//   stage 1  .  F0 B0 W0 F1 B1 W1 optimizer
// 9 units long, 6 of them work on each stage; then `late` units more before the last B of stage 0.
std::vector<TraceEvent> equal_stages(double unit, std::int64_t step = 1, double late = 0) {
  std::vector<TraceEvent> trace;
  Row first{0, unit, 100, &trace, step}, second{1, unit, 100, &trace, step};
  first.forward(0).forward(1).wait(2).backward(0).wait(1 + late).backward(1).optimizer(1);
  second.wait(1).forward(0).backward(0).forward(1).backward(1).optimizer(1.5);
  return trace;
}

// The same table where stage 1 takes twice as long for everything: 15 units.
//   stage 0  F0 F1 .  .  .  .  .  B0 W0 .  .  .  .  B1 W1
//   stage 1  .  F0 F0 B0 B0 W0 W0 F1 F1 B1 B1 W1 W1
std::vector<TraceEvent> slow_second_stage(double unit) {
  std::vector<TraceEvent> trace;
  Row first{0, unit, 0, &trace, 1}, second{1, 2 * unit, 0, &trace, 1};
  first.forward(0).forward(1).wait(5).backward(0).wait(4).backward(1);
  second.wait(0.5).forward(0).backward(0).forward(1).backward(1);
  return trace;
}

// And where stage 0 does: 13 units.
//   stage 0  F0 F0 F1 F1 .  B0 B0 W0 W0 B1 B1 W1 W1
//   stage 1  .  .  F0 B0 W0 F1 B1 W1
std::vector<TraceEvent> slow_first_stage(double unit) {
  std::vector<TraceEvent> trace;
  Row first{0, 2 * unit, 0, &trace, 1}, second{1, unit, 0, &trace, 1};
  first.forward(0).forward(1).wait(0.5).backward(0).backward(1);
  second.wait(2).forward(0).backward(0).forward(1).backward(1);
  return trace;
}

// A job with that schedule.
class StatisticsOfTwoStages : public ::testing::Test {
 protected:
  static TrainRequest config() {
    TrainRequest config = small_config(2);
    config.micro_batches = 2;
    return config;
  }
  const Program& program() const { return *run_.engine.program(); }

  EngineRun run_{config()};
  Statistics statistics_{2, 2};
};

TEST(Median, IsTheMiddleOrTheUpperOfTwo) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({2, 1}), 2);
  EXPECT_EQ(median({5, 1, 3}), 3);
  EXPECT_EQ(median({4, 1, 3, 2}), 3);
}

TEST_F(StatisticsOfTwoStages, TimesAreSumsOfAStep) {
  statistics_.add(equal_stages(0.5), 5);
  const std::vector<StageReport> stages = statistics_.stages();
  ASSERT_EQ(stages.size(), 2u);
  for (const StageReport& stage : stages) {
    EXPECT_DOUBLE_EQ(stage.forward_seconds, 1);
    EXPECT_DOUBLE_EQ(stage.backward_input_seconds, 1);
    EXPECT_DOUBLE_EQ(stage.backward_weight_seconds, 1);
    EXPECT_DOUBLE_EQ(stage.last_weight_seconds, 0.5);
    EXPECT_DOUBLE_EQ(stage.busy_seconds(), 3);
    // Stage 1 waits at the beginning, and at the end until stage 0 is done.
    EXPECT_DOUBLE_EQ(stage.wait_seconds, 1.5);
    EXPECT_EQ(stage.communication_seconds, 0);
  }
  EXPECT_DOUBLE_EQ(stages[0].optimizer_seconds, 0.5);
  EXPECT_DOUBLE_EQ(stages[1].optimizer_seconds, 0.75);
  EXPECT_EQ(statistics_.step_seconds_median(), 5);
}

// Neither a part of the step's work, nor of its length.
TEST_F(StatisticsOfTwoStages, SumsOverReplicasAreHiddenWhileARankComputes) {
  std::vector<TraceEvent> trace = equal_stages(1);
  trace.push_back({TraceKind::kReduce, 1, 1, -1, 1, 107, 111});  // stage 0 ends at 109
  trace.push_back({TraceKind::kReduce, 0, 0, -1, 1, 109, 110});
  trace.push_back({TraceKind::kWait, 0, 0, -1, 1, 110, 112});
  statistics_.add(trace, 12);
  const std::vector<StageReport> stages = statistics_.stages();
  EXPECT_DOUBLE_EQ(stages[1].reduce_seconds, 4);
  EXPECT_DOUBLE_EQ(stages[1].hidden_reduce_seconds, 2);
  EXPECT_DOUBLE_EQ(stages[0].reduce_seconds, 1);
  EXPECT_DOUBLE_EQ(stages[0].hidden_reduce_seconds, 0);
  EXPECT_DOUBLE_EQ(stages[0].busy_seconds(), 6);
  EXPECT_DOUBLE_EQ(stages[0].wait_seconds, 3);
  EXPECT_DOUBLE_EQ(stages[1].reduce_beside_weight_seconds, 0);
}

TEST_F(StatisticsOfTwoStages, TheOptimizerIsHiddenBesideARankOnly) {
  std::vector<TraceEvent> trace = equal_stages(1);  // stage 0 ends at 109
  trace.push_back({TraceKind::kOptimizer, 1, 1, -1, 1, 107, 108});
  trace.push_back({TraceKind::kOptimizer, 0, 0, -1, 1, 108, 110, true});
  statistics_.add(trace, 12);
  const std::vector<StageReport> stages = statistics_.stages();
  EXPECT_DOUBLE_EQ(stages[1].hidden_optimizer_seconds, 0);
  EXPECT_DOUBLE_EQ(stages[0].hidden_optimizer_seconds, 1);
}

// Of stage 0, whose last W ends at 109.
TEST_F(StatisticsOfTwoStages, SumsBesideTheLastW) {
  std::vector<TraceEvent> trace = equal_stages(1);
  trace.push_back({TraceKind::kReduce, 0, 0, -1, 1, 107, 107.5});
  trace.push_back({TraceKind::kReduce, 0, 0, -1, 1, 108.5, 110});
  trace.push_back({TraceKind::kReduce, 0, 0, -1, 1, 111, 112});  // parameters
  statistics_.add(trace, 12);
  EXPECT_DOUBLE_EQ(statistics_.stages()[0].reduce_seconds, 3);
  EXPECT_DOUBLE_EQ(statistics_.stages()[0].reduce_beside_weight_seconds, 1);
}

TEST_F(StatisticsOfTwoStages, CommunicationIsNeitherWorkNorWaiting) {
  std::vector<TraceEvent> trace = equal_stages(1);
  for (TraceEvent& event : trace) {  // the waits of stage 0: at 102 and 106
    if (event.kind != TraceKind::kWait || event.stage != 0) continue;
    event.kind = event.start < 104 ? TraceKind::kReceive : TraceKind::kSend;
  }
  statistics_.add(trace, 1);
  const std::vector<StageReport> stages = statistics_.stages();
  EXPECT_DOUBLE_EQ(stages[0].communication_seconds, 3);
  EXPECT_DOUBLE_EQ(stages[0].wait_seconds, 0);
  EXPECT_DOUBLE_EQ(stages[0].busy_seconds(), 6);
  EXPECT_DOUBLE_EQ(stages[1].wait_seconds, 3);
  EXPECT_DOUBLE_EQ(statistics_.bubble(program()).measured, 1.0 / 3);
}

TEST_F(StatisticsOfTwoStages, LongRunsKeepASampleOfTheirSteps) {
  constexpr std::size_t kSteps = Statistics::kTimedSteps;
  const std::vector<TraceEvent> slow = equal_stages(9), fast = equal_stages(1);
  for (std::size_t i = 0; i < kSteps; ++i) statistics_.add(slow, 90);
  EXPECT_EQ(statistics_.timed_steps(), kSteps);
  EXPECT_EQ(statistics_.step_seconds_median(), 90);
  for (std::size_t i = 0; i < 3 * kSteps; ++i) statistics_.add(fast, 10);
  EXPECT_EQ(statistics_.timed_steps(), kSteps);
  EXPECT_EQ(statistics_.step_seconds_median(), 10);
  EXPECT_DOUBLE_EQ(statistics_.stages()[0].forward_seconds, 2);
}

TEST_F(StatisticsOfTwoStages, TimesAreMediansOverTheSteps) {
  statistics_.add(equal_stages(9), 90);  // a slow first step
  statistics_.add(equal_stages(2), 20);
  statistics_.add(equal_stages(1), 10);
  for (const StageReport& stage : statistics_.stages()) {
    EXPECT_DOUBLE_EQ(stage.forward_seconds, 4);
    EXPECT_DOUBLE_EQ(stage.wait_seconds, 6);
  }
  EXPECT_DOUBLE_EQ(statistics_.stages()[1].optimizer_seconds, 3);
  EXPECT_EQ(statistics_.step_seconds_median(), 20);
  EXPECT_DOUBLE_EQ(statistics_.bubble(program()).measured_makespan_seconds, 18);
}

TEST_F(StatisticsOfTwoStages, BubbleOfEqualStages) {
  statistics_.add(equal_stages(0.25), 2);
  const BubbleReport bubble = statistics_.bubble(program());
  EXPECT_DOUBLE_EQ(bubble.measured, 1.0 / 3);   // 1 - 12 / 18
  EXPECT_DOUBLE_EQ(bubble.predicted, 1.0 / 3);  // the table above is what the replay finds
  EXPECT_DOUBLE_EQ(bubble.formula.value(), 1.0 / 3);
  EXPECT_DOUBLE_EQ(bubble.imbalance, 0);
  EXPECT_DOUBLE_EQ(bubble.measured_makespan_seconds, 2.25);  // without the optimizer
  EXPECT_DOUBLE_EQ(bubble.predicted_makespan_seconds, 2.25);
  EXPECT_FALSE(bubble.joint_makespan_seconds.has_value());
  EXPECT_DOUBLE_EQ(bubble.zb_h1_makespan_seconds.value(), 7 * 0.25);  // 6 and (K-1)(F+B-W)
}

// The same table from a file that is called like another schedule: what it is, is not in its name.
TEST(Statistics, AFileCalledZbH1GetsItsHintAndNoFormula) {
  const testing::ScratchFolder folder;
  const std::string file = (folder.path() / "zb-h1").string();
  testing::write_text(file, "0F0 0F1 0BW0 0BW1\n1F0 1BW0 1F1 1BW1\n");
  TrainRequest config = small_config(2);
  config.stages.reset();
  config.micro_batches.reset();
  config.schedule = file;
  EngineRun run(config);
  Statistics statistics(2, 2);
  statistics.add(equal_stages(0.25), 2);
  const BubbleReport bubble = statistics.bubble(*run.engine.program());
  EXPECT_FALSE(bubble.formula.has_value());
  EXPECT_DOUBLE_EQ(bubble.zb_h1_makespan_seconds.value(), 7 * 0.25);
}

TEST_F(StatisticsOfTwoStages, BubbleOfASlowStage) {
  statistics_.add(slow_second_stage(1), 13);
  const BubbleReport bubble = statistics_.bubble(program());
  EXPECT_DOUBLE_EQ(bubble.measured, 1 - 18.0 / 30);
  EXPECT_DOUBLE_EQ(bubble.predicted, 1 - 18.0 / 30);
  EXPECT_DOUBLE_EQ(bubble.imbalance, 0.25);  // 1 - 9 / 12
  EXPECT_DOUBLE_EQ(bubble.predicted_makespan_seconds, 15);
}

// Another stage is slow each time: the medians of the stages' times are those of the quick step.
TEST_F(StatisticsOfTwoStages, EachStepIsPredictedFromItsOwnTimes) {
  statistics_.add(equal_stages(1), 9);
  statistics_.add(slow_second_stage(1), 15);
  statistics_.add(slow_first_stage(1), 13);
  for (const StageReport& stage : statistics_.stages()) EXPECT_DOUBLE_EQ(stage.busy_seconds(), 6);
  const BubbleReport bubble = statistics_.bubble(program());
  EXPECT_DOUBLE_EQ(bubble.measured_makespan_seconds, 13);
  EXPECT_DOUBLE_EQ(bubble.predicted_makespan_seconds, 13);
  EXPECT_DOUBLE_EQ(bubble.predicted, 1 - 18.0 / 26);
}

// Work that layers put off until the last W is none of the others' cost: it is predicted.
TEST_F(StatisticsOfTwoStages, ALongLastWIsPredicted) {
  std::vector<TraceEvent> trace = equal_stages(1);
  for (TraceEvent& event : trace) {
    if (event.stage == 0 && event.kind == TraceKind::kBackwardWeight && event.micro_batch == 1) {
      event.end += 4;
    }
  }
  statistics_.add(trace, 13);
  const SimulationCosts costs = statistics_.costs(program());
  EXPECT_DOUBLE_EQ(costs.stages[0].backward_weight, 1);
  EXPECT_DOUBLE_EQ(costs.stages[0].last_weight, 5);
  EXPECT_DOUBLE_EQ(statistics_.predicted(program()).makespan, 13);
}

// A group of one micro-batch each: both W have what they put off, as the costs of a run with
// --gradient-groups say it.
TEST_F(StatisticsOfTwoStages, EveryWThatEndsAGroupIsPredicted) {
  Statistics groups(2, 1);
  groups.add(equal_stages(1), 9);
  const SimulationCosts costs = groups.costs(program());
  EXPECT_EQ(costs.weight_group, 1);
  EXPECT_DOUBLE_EQ(costs.stages[0].last_weight, 1);
  EXPECT_DOUBLE_EQ(groups.predicted(program()).makespan, 9);
}

TEST(Statistics, WThatEndsAGroupIsTheMeanOfAll) {
  TrainRequest config = small_config(1);
  config.micro_batches = 4;
  config.schedule = "gpipe";
  EngineRun run(config);
  // Two groups: W of 1 and 3, then of 2 and 6.
  std::vector<TraceEvent> trace;
  Row row{0, 1, 0, &trace, 1};
  for (int m = 0; m < 4; ++m) row.forward(m);
  int m = 0;
  for (const double weight : {1.0, 3.0, 2.0, 6.0}) {
    row.add(TraceKind::kBackwardInput, m, 1).add(TraceKind::kBackwardWeight, m, weight);
    ++m;
  }
  Statistics statistics(1, 2);
  statistics.add(trace, 20);
  EXPECT_DOUBLE_EQ(statistics.stages()[0].backward_weight_seconds, 12);
  EXPECT_DOUBLE_EQ(statistics.stages()[0].last_weight_seconds, 4.5);
  const SimulationCosts costs = statistics.costs(*run.engine.program());
  EXPECT_DOUBLE_EQ(costs.stages[0].backward_weight, 1.5);
  EXPECT_DOUBLE_EQ(costs.stages[0].last_weight, 4.5);
  EXPECT_DOUBLE_EQ(statistics.predicted(*run.engine.program()).makespan, 4 + 4 + 12);
}

// Messages of 3 bytes at 6 a second, and 0.25 s on their way. By hand:
//   stage 0  F0 F1 .    .    .    B0 W0 .  .  .  B1 W1
//   stage 1  .  .  F0 B0 W0 F1 B1 W1
// F0 arrives at 1.75, so B0 W0 end at 4.75; its gradient at 5.5. F1 ends at 5.75, BW1 at 7.75, and
// its gradient arrives at 8.5, one second behind W0 of stage 0.
TEST_F(StatisticsOfTwoStages, MessagesOfProcessesArePredicted) {
  statistics_.add(equal_stages(1), 9);
  EXPECT_DOUBLE_EQ(statistics_.predicted(program()).makespan, 9);
  statistics_.set_messages({0.25, 6}, {3, 1000});
  const SimulationCosts costs = statistics_.costs(program());
  EXPECT_EQ(costs.latency, 0.25);
  EXPECT_EQ(costs.bandwidth, 6);
  EXPECT_EQ(costs.stages[0].output_bytes, 3);
  const Simulation predicted = statistics_.predicted(program());
  EXPECT_DOUBLE_EQ(predicted.makespan, 10.5);
  EXPECT_DOUBLE_EQ(statistics_.bubble(program()).predicted, 1 - 12 / 21.0);
}

// A rank whose stage 1 is summed before B and W of stage 0, as in PyTorch's tables:
//   F0 F1 B1 W1 sum B0 W0, and the sum of stage 0 behind all of it.
class StatisticsOfARankOfTwoStages : public ::testing::Test {
 protected:
  // `beside`: of the sum of stage 1, what runs beside its W.
  static std::vector<TraceEvent> step(double sum, double beside = 0) {
    using enum TraceKind;
    std::vector<TraceEvent> trace;
    double now = 0;
    const auto add = [&](TraceKind kind, int stage, int micro_batch, double seconds) {
      trace.push_back({kind, 0, stage, micro_batch, 1, now, now + seconds});
      now += seconds;
    };
    add(kForward, 0, 0, 1);
    add(kForward, 1, 0, 1);
    add(kBackwardInput, 1, 0, 1);
    add(kBackwardWeight, 1, 0, 4);
    now -= beside;
    add(kReduce, 1, -1, sum);
    add(kBackwardInput, 0, 0, 1);
    add(kBackwardWeight, 0, 0, 1);
    add(kReduce, 0, -1, 7);
    add(kOptimizer, 0, -1, 1);
    add(kOptimizer, 1, -1, 1);
    return trace;
  }
  BubbleReport bubble_of(const std::vector<TraceEvent>& trace) const {
    Statistics statistics(2, 1);
    statistics.add(trace, 30);
    return statistics.bubble(program_);
  }

  const Program program_ = check(schedule_from_text(
      "0F0 1F0 1B0 1W0 1REDUCE_GRAD 0B0 0W0 0REDUCE_GRAD 0STEP 1STEP\n", "one rank"));
};

TEST_F(StatisticsOfARankOfTwoStages, ASumBeforeOtherWorkIsPredicted) {
  const BubbleReport bubble = bubble_of(step(5));
  EXPECT_DOUBLE_EQ(bubble.measured_makespan_seconds, 14);
  EXPECT_DOUBLE_EQ(bubble.predicted_makespan_seconds, 14);
  EXPECT_DOUBLE_EQ(bubble.measured, 1 - 9.0 / 14);
  EXPECT_DOUBLE_EQ(bubble.predicted, 1 - 9.0 / 14);
  EXPECT_DOUBLE_EQ(bubble_of(step(0)).predicted_makespan_seconds, 9);
}

TEST_F(StatisticsOfARankOfTwoStages, WhatOverlapHidesOfItIsPredicted) {
  const BubbleReport bubble = bubble_of(step(5, 3));
  EXPECT_DOUBLE_EQ(bubble.measured_makespan_seconds, 11);
  EXPECT_DOUBLE_EQ(bubble.predicted_makespan_seconds, 11);
  EXPECT_DOUBLE_EQ(bubble_of(step(3, 3)).predicted_makespan_seconds, 9);
}

TEST_F(StatisticsOfTwoStages, WhatIsLateIsMeasuredAndNotPredicted) {
  statistics_.add(equal_stages(1, 1, 4), 1);  // 13 long: 1 - 12 / 26
  statistics_.add(equal_stages(1, 2, 0), 1);  // 9: 1 / 3
  statistics_.add(equal_stages(1, 3, 2), 1);  // 11: 1 - 12 / 22
  const BubbleReport bubble = statistics_.bubble(program());
  EXPECT_DOUBLE_EQ(bubble.measured, 1 - 12.0 / 22);
  EXPECT_DOUBLE_EQ(bubble.measured_makespan_seconds, 11);
  EXPECT_DOUBLE_EQ(bubble.predicted, 1.0 / 3);
  EXPECT_DOUBLE_EQ(bubble.predicted_makespan_seconds, 9);
  EXPECT_DOUBLE_EQ(statistics_.stages()[0].wait_seconds, 5);
  EXPECT_EQ(statistics_.median_step().front().step, 3);
  EXPECT_EQ(statistics_.median_step().size(), equal_stages(1).size());
}

TEST_F(StatisticsOfTwoStages, KeepsTheTracesOfTheLastSteps) {
  const auto kept = static_cast<std::int64_t>(Statistics::kKeptSteps);
  for (std::int64_t step = 1; step <= kept + 5; ++step) {
    statistics_.add(equal_stages(step <= 5 ? 50 : 1, step), 1);
  }
  const std::vector<TraceEvent> trace = statistics_.trace();
  EXPECT_EQ(trace.size(), equal_stages(1).size() * Statistics::kKeptSteps);
  EXPECT_EQ(trace.front().step, 6);
  EXPECT_EQ(trace.back().step, kept + 5);
  EXPECT_DOUBLE_EQ(statistics_.stages()[0].forward_seconds, 2);
}

TEST_F(StatisticsOfTwoStages, NoStepsNoTimes) {
  EXPECT_EQ(statistics_.step_seconds_median(), 0);
  EXPECT_EQ(statistics_.stages()[1].busy_seconds(), 0);
  EXPECT_TRUE(statistics_.trace().empty());
  EXPECT_TRUE(statistics_.median_step().empty());
  EXPECT_EQ(statistics_.bubble(program()).measured, 0);
}

// What a real step leaves: every stage has all of its F, B and W.
TEST_F(StatisticsOfTwoStages, TakesRealSteps) {
  const Dataset images = make_synthetic(3, Split::kTrain, 16);
  const auto loader = testing::training_batches(images, config());
  const auto start = Clock::now();
  for (int step = 1; step <= 3; ++step) {
    run_.engine.train_batch(*loader->next());
    statistics_.add(run_.engine.loop().trace(start, step), 0.01 * step);
  }
  for (const StageReport& stage : statistics_.stages()) {
    EXPECT_GT(stage.forward_seconds, 0);
    EXPECT_GT(stage.backward_input_seconds, 0);
    EXPECT_GT(stage.backward_weight_seconds, 0);
    EXPECT_GT(stage.optimizer_seconds, 0);
    EXPECT_GE(stage.wait_seconds, 0);
  }
  const BubbleReport bubble = statistics_.bubble(program());
  EXPECT_GT(bubble.measured, 0);
  EXPECT_LT(bubble.measured, 1);
  EXPECT_GT(bubble.predicted, 0);
  EXPECT_EQ(statistics_.step_seconds_median(), 0.02);
}

}  // namespace
}  // namespace stagecoach
