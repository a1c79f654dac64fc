// What a step leaves in the trace; and how it ends when something fails.
#include "pipeline/executor.h"

#include <gtest/gtest.h>

#include <limits>
#include <source_location>
#include <tuple>
#include <type_traits>

#include "pipeline/schedule/check.h"
#include "pipeline/schedule/placement.h"
#include "tests/pipeline/schedule/table_text.h"
#include "tests/pipeline/small_job.h"

namespace stagecoach {
namespace {

using testing::hooked_network;
using testing::Job;
using testing::on_ranks;
using testing::one_stage_a_rank;
using testing::Outcome;
using testing::plain_outcome;
using testing::small_adam;
using testing::small_options;
using testing::small_sgd;
using testing::SmallBatch;

constexpr int kMicroBatches = 5;

// The spans that an action leaves: receives at their reader, BW as B and W.
std::vector<std::pair<TraceKind, ActionKind>> spans_of(ActionKind kind, bool receives) {
  using Spans = std::vector<std::pair<TraceKind, ActionKind>>;
  const Spans receive = {{TraceKind::kReceive, ActionKind::kReceiveActivation}};
  Spans spans = receives ? receive : Spans{};
  switch (kind) {
    case ActionKind::kForward:
      spans.push_back({TraceKind::kForward, kind});
      return spans;
    case ActionKind::kBackwardInput:
      spans.push_back({TraceKind::kBackwardInput, kind});
      return spans;
    case ActionKind::kBackward:
      spans.push_back({TraceKind::kBackwardInput, ActionKind::kBackwardInput});
      spans.push_back({TraceKind::kBackwardWeight, ActionKind::kBackwardWeight});
      return spans;
    case ActionKind::kBackwardWeight:
      return {{TraceKind::kBackwardWeight, kind}};
    case ActionKind::kRecompute:
      return {{TraceKind::kRecompute, kind}};
    case ActionKind::kSendActivation:
    case ActionKind::kSendGradient:
      return {{TraceKind::kSend, kind}};
    case ActionKind::kOptimizerStep:
      return {{TraceKind::kOptimizer, kind}};
    default:
      return {};
  }
}

std::vector<TraceEvent> of_rank(const std::vector<TraceEvent>& events, std::size_t rank) {
  std::vector<TraceEvent> own;
  for (const TraceEvent& event : events) {
    if (event.rank == static_cast<int>(rank)) own.push_back(event);
  }
  return own;
}

// One span after another without a gap: their sum is the time that the rank took.
void expect_gapless(const std::vector<TraceEvent>& events) {
  ASSERT_FALSE(events.empty());
  double sum = 0;
  for (std::size_t i = 0; i < events.size(); ++i) {
    ASSERT_LE(events[i].start, events[i].end);
    ASSERT_EQ(events[i].start, i > 0 ? events[i - 1].end : events[i].start);
    sum += events[i].end - events[i].start;
  }
  EXPECT_NEAR(sum, events.back().end - events.front().start, 1e-9);
  EXPECT_GT(sum, 0);
}

// By action: the span of each. Expects those of all actions, in the rank's order.
using Spans = std::map<std::tuple<ActionKind, int, int>, TraceEvent>;
void expect_actions(const std::vector<TraceEvent>& events, const std::vector<Action>& actions,
                    Spans& spans) {
  std::vector<TraceEvent> seen;
  for (const TraceEvent& event : events) {
    if (event.kind != TraceKind::kWait) seen.push_back(event);
  }
  std::size_t next = 0;
  for (const Action& action : actions) {
    const auto received = [&](ActionKind kind) {
      return std::ranges::find(actions, Action{kind, action.stage, action.micro_batch}) !=
             actions.end();
    };
    const bool receives = action.kind == ActionKind::kForward
                              ? received(ActionKind::kReceiveActivation)
                              : received(ActionKind::kReceiveGradient);
    for (const auto& [trace_kind, kind] : spans_of(action.kind, receives)) {
      ASSERT_LT(next, seen.size()) << action.to_string();
      const TraceEvent& event = seen[next++];
      EXPECT_EQ(event.kind, trace_kind) << action.to_string();
      EXPECT_EQ(event.stage, action.stage) << action.to_string();
      EXPECT_EQ(event.micro_batch, action.micro_batch) << action.to_string();
      spans[{kind, action.stage, action.micro_batch}] = event;
    }
  }
  EXPECT_EQ(next, seen.size());
}

void expect_dependencies(const Program& program, const Spans& spans) {
  const auto span_of = [&](const Action& action) {
    const auto kind =
        action.kind == ActionKind::kBackward ? ActionKind::kBackwardInput : action.kind;
    return spans.at({kind, action.stage, action.micro_batch});
  };
  for (const auto& actions : program.schedule().ranks) {
    for (const Action& action : actions) {
      for (const Action needed : program.dependencies().of(action)) {
        EXPECT_GE(span_of(action).start, span_of(needed).end)
            << action.to_string() << " needs " << needed.to_string();
      }
    }
  }
}

TEST(Executor, TraceShowsEveryActionOnceAndInOrder) {
  std::vector<Schedule> schedules;
  for (const std::string& name : one_stage_a_rank()) {
    schedules.push_back(make_schedule(name, 4, kMicroBatches));
    schedules.push_back(on_ranks(schedules.back(), {0, 1, 0, 1}, 3));
    schedules.push_back(with_recompute(schedules[schedules.size() - 2], Recompute::kExceptLast));
  }
  for (const Schedule& schedule : schedules) {
    SCOPED_TRACE(schedule.to_text());
    Job<Pipeline> job(small_options(schedule, {2, 5, 9}));
    const Clock::time_point origin = Clock::now();
    job.train(2);
    const double seconds = std::chrono::duration<double>(Clock::now() - origin).count();
    const std::vector<TraceEvent> events = job.loop.trace(origin, 41);
    for (const TraceEvent& event : events) {
      EXPECT_EQ(event.step, 41);
      EXPECT_GE(event.start, 0);
      EXPECT_LE(event.end, seconds);
    }
    const Program& run = job.loop.program();
    Spans spans;
    for (std::size_t rank = 0; rank < run.schedule().ranks.size(); ++rank) {
      const std::vector<TraceEvent> own = of_rank(events, rank);
      expect_gapless(own);
      expect_actions(own, run.schedule().ranks[rank], spans);
    }
    expect_dependencies(run, spans);
    if (HasFailure()) return;
  }
}

TEST(Executor, TraceOfEvaluationIsForwardOnly) {
  Job<Pipeline> job(small_options(one_f_one_b_schedule(3, kMicroBatches), {4, 8}));
  job.evaluate();
  Spans spans;
  const Schedule schedule = with_communication(forward_only_schedule(3, kMicroBatches));
  const std::vector<TraceEvent> events = job.loop.trace({}, 0);
  for (std::size_t rank = 0; rank < 3; ++rank) {
    expect_gapless(of_rank(events, rank));
    expect_actions(of_rank(events, rank), schedule.ranks[rank], spans);
  }
  expect_dependencies(check(schedule, {.buffers = job.loop.program().buffers()}), spans);
}

TEST(PlainLoop, TraceIsOneRankInOrder) {
  Job<PlainLoop> job(small_options(naive_schedule(1, kMicroBatches), {}));
  job.train(1);
  const std::vector<TraceEvent> events = job.loop.trace({}, 0);
  Spans spans;
  expect_gapless(events);
  expect_actions(events, with_optimizer_steps(naive_schedule(1, kMicroBatches)).ranks[0], spans);
}

struct Failure {
  ActionKind kind = ActionKind::kForward;
  int micro_batch = 0;
  bool at_once = false;  // when it is called, else when its work runs
};

constexpr int kFailingLayer = 8;  // the first linear one

// Fails once.
Network failing_network(const Failure& failure) {
  const auto failed = std::make_shared<bool>(false);
  return hooked_network(kFailingLayer,
                        [=](Context& context, ActionKind kind, std::int64_t micro_batch) {
                          if (kind != failure.kind || micro_batch != failure.micro_batch) return;
                          if (std::exchange(*failed, true)) return;
                          const auto fail = [] { throw Error("layer", "no failure", "this one"); };
                          if (failure.at_once) fail();
                          context.stream().enqueue(fail);
                        });
}

// The layer's error; of a pipeline, with the rank, stage and action that it struck.
template <typename Loop>
std::string expected_error(const PipelineOptions& options, const Failure& failure) {
  const std::string error = "layer: expected no failure, got this one";
  if (std::is_same_v<Loop, PlainLoop>) return error;
  int stage = 0;
  while (options.partition.end(stage) <= kFailingLayer) ++stage;
  return fmt::format("rank {}, stage {}, {} of micro-batch {}: {}",
                     Placement(options.schedule).ranks_of(stage).front(), stage,
                     name_of(failure.kind), failure.micro_batch, error);
}

const Outcome& undisturbed(int micro_batches) {
  static const Outcome outcome = plain_outcome(micro_batches, small_sgd(), 2);
  return outcome;
}

// Fails with the layer's error; the next steps run, and it can be taken down afterwards. A
// failed F is before all steps of optimizers, so it leaves no trace.
template <typename Loop>
void expect_failure(const PipelineOptions& options, const Failure& failure) {
  SCOPED_TRACE(fmt::format("{} on {} stages, {} of micro-batch {}, {}", options.schedule.name,
                           options.schedule.stages, name_of(failure.kind), failure.micro_batch,
                           failure.at_once ? "at once" : "on the stream"));
  Job<Loop> job(options, failing_network(failure));
  EXPECT_EQ(error_of([&] { job.train(1); }), expected_error<Loop>(options, failure));
  job.train(2);
  if (failure.kind == ActionKind::kForward) {
    EXPECT_EQ(job.outcome, undisturbed(options.schedule.micro_batches));
  }
  for (const auto& stage : job.loop.stages()) {
    EXPECT_EQ(stage->arena().peak_bytes(), stage->memory_plan().arena.bytes());
  }
}

template <typename Visit>
void for_each_failure(const Visit& visit) {
  for (const ActionKind kind :
       {ActionKind::kForward, ActionKind::kBackwardInput, ActionKind::kBackwardWeight}) {
    for (const int micro_batch : {0, 2, kMicroBatches - 1}) {
      for (const bool at_once : {false, true}) visit(Failure{kind, micro_batch, at_once});
    }
  }
}

TEST(Executor, AFailureAnywhereEndsTheStepOfAllRanks) {
  // The layer that fails is on the last, a middle, the first and every rank's only stage.
  const std::vector<std::vector<int>> all_cuts = {
      {4, 8}, {4, 9}, {9, 10}, {6}, {}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}};
  for_each_failure([&](const Failure& failure) {
    for (const std::vector<int>& cuts : all_cuts) {
      const int stages = static_cast<int>(cuts.size()) + 1;
      for (const std::string& name : one_stage_a_rank()) {
        const Schedule schedule = make_schedule(name, stages, kMicroBatches);
        expect_failure<Pipeline>(small_options(schedule, cuts), failure);
        if (HasFailure()) return;
      }
    }
    const Schedule schedule = on_ranks(one_f_one_b_schedule(4, kMicroBatches), {0, 1, 0, 1}, 1);
    expect_failure<Pipeline>(small_options(schedule, {2, 5, 9}), failure);
  });
}

TEST(PlainLoop, AFailureEndsTheStep) {
  for_each_failure([](const Failure& failure) {
    expect_failure<PlainLoop>(small_options(naive_schedule(1, kMicroBatches), {}), failure);
  });
}

TEST(Executor, AFailureKeepsItsTypeAndItsPlace) {
  for (const bool at_once : {false, true}) {
    const unsigned line = std::source_location::current().line() + 1;
    const auto fail = [] { throw UsageError("layer", "no failure", "this one"); };
    const Network network = hooked_network(
        kFailingLayer, [&](Context& context, ActionKind kind, std::int64_t micro_batch) {
          if (kind != ActionKind::kBackwardInput || micro_batch != 1) return;
          if (at_once) fail();
          context.stream().enqueue(fail);
        });
    Job<Pipeline> job(small_options(one_f_one_b_schedule(2, kMicroBatches), {6}), network);
    try {
      job.train(1);
      ADD_FAILURE() << "no error";
    } catch (const UsageError& error) {
      EXPECT_EQ(error.message(),
                "rank 1, stage 1, B of micro-batch 1: layer: expected no failure, got this one");
      EXPECT_EQ(error.place().line(), line);
    }
  }
}

// A micro-batch with an infinite image, between good steps.
template <typename Loop>
void expect_numeric_error(const PipelineOptions& options, int micro_batch) {
  SCOPED_TRACE(fmt::format("{} on {} stages", options.schedule.name, options.schedule.stages));
  Job<Loop> undisturbed(options);
  undisturbed.train(3);
  Job<Loop> job(options);
  job.train(2);
  const auto before = job.weights();
  const SmallBatch bad(kMicroBatches, 9);
  const std::int64_t image = testing::small_input(1).elements();
  const std::int64_t sample = micro_batch * testing::kMicroBatchRows + 1;
  std::fill_n(bad.images.tensor.template as<float>() + sample * image, image,
              std::numeric_limits<float>::infinity());
  try {
    job.loop.run(bad.input(2, job.options.optimizer.get()));
    ADD_FAILURE() << "no error";
  } catch (const NumericError& error) {
    const std::string expected = "training step 3: expected a finite loss, got ";
    EXPECT_TRUE(error.message().starts_with(expected)) << error.message();
    const std::string place = fmt::format(" for sample 1 of micro-batch {}", micro_batch);
    EXPECT_TRUE(error.message().ends_with(place)) << error.message();
  }
  EXPECT_EQ(job.weights(), before);
  // Nor has the optimizer's state changed, and training goes on.
  job.train(1, 2);
  EXPECT_EQ(job.outcome, undisturbed.outcome);
}

TEST(Executor, ALossThatIsNotFiniteChangesNoWeights) {
  for (const int micro_batch : {0, kMicroBatches - 1}) {
    expect_numeric_error<PlainLoop>(small_options(naive_schedule(1, kMicroBatches), {}),
                                    micro_batch);
    for (const std::string& name : one_stage_a_rank()) {
      const Schedule schedule = make_schedule(name, 4, kMicroBatches);
      expect_numeric_error<Pipeline>(small_options(schedule, {2, 5, 9}, 1, small_adam()),
                                     micro_batch);
    }
    const Schedule shared = on_ranks(gpipe_schedule(4, kMicroBatches), {0, 1, 0, 1}, 1);
    expect_numeric_error<Pipeline>(small_options(shared, {2, 5, 9}), micro_batch);
  }
}

TEST(Executor, RefusesARankWithoutStages) {
  EXPECT_EQ(error_of([] { Executor(3, {}); }),
            "Executor: expected a rank with stages, got none on rank 3");
  // A table of two ranks, one of which has nothing to do.
  const std::string error = error_of([] {
    Job<Pipeline>{small_options(table(1, 1, {"0F0 0B0 0W0", ""}), {})};
  });
  EXPECT_EQ(error, "check: expected an action on rank 1, got none");
}

}  // namespace
}  // namespace stagecoach
