// A pipeline whose ranks are processes trains as one of threads does, bit for bit.
#include "pipeline/process_pipeline.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <limits>

#include "comm/calibration.h"
#include "core/error.h"
#include "core/system_memory.h"
#include "pipeline/activity.h"
#include "tests/forked/forked_world.h"
#include "tests/kernels/checks.h"
#include "tests/pipeline/small_job.h"

namespace stagecoach {
namespace {

using testing::bytes_of;
using testing::Outcome;
using testing::run_forked;
using testing::SmallBatch;

constexpr int kSteps = 3, kMicroBatches = 8, kGroups = 4;  // of all replicas

// A job in `groups` parts of a batch, and what it is cut into.
struct Case {
  const char* schedule = "1f1b";
  std::vector<int> cuts;
  int replicas = 1;
  int chunks = 1;
  Recompute recompute = Recompute::kNever;
  double clip_norm = 0;
  bool shards_optimizer = false, overlaps_sum = false;
  testing::OptimizerPointer optimizer = testing::small_sgd();
  const Calibration* calibration = nullptr;
  Watch* watch = nullptr;
};

PipelineOptions options_of(const Case& c, World* world) {
  const int ranks = (static_cast<int>(c.cuts.size()) + 1) / c.chunks;
  Schedule schedule = make_schedule(c.schedule, ranks, kMicroBatches / c.replicas, c.chunks);
  schedule = with_recompute(schedule, c.recompute);
  PipelineOptions options = testing::small_options(schedule, c.cuts, 1, c.optimizer);
  options.loss_rows *= c.replicas;
  options.replicas = c.replicas;
  options.gradient_groups = kGroups;
  options.clip_norm = c.clip_norm;
  options.shards_optimizer = c.shards_optimizer;
  options.overlaps_update = c.overlaps_sum;
  options.bucket_bytes = 1;
  options.world = world;
  options.calibration = c.calibration;
  options.watch = c.watch;
  return options;
}

Outcome plain_outcome(Case c) {
  c.schedule = "naive";
  c.cuts = {};
  c.replicas = c.chunks = 1;
  c.recompute = Recompute::kNever;
  testing::Job<PlainLoop> plain(options_of(c, nullptr));
  plain.train(kSteps);
  plain.evaluate();
  plain.outcome.gradients.clear();
  plain.outcome.weights.merge(plain.optimizer_states());
  return plain.outcome;
}

struct ProcessJob {
  ProcessJob(const Case& c, World& world, Network of = testing::small_network())
      : options(options_of(c, &world)),
        network(std::move(of)),
        loop(network, network.plan(testing::small_input(), options.target), options) {
    loop.initialize(testing::kSeed);
  }

  void run(const StepInput& input) {
    const StepResult result = loop.run(input);
    outcome.losses.push_back(bytes_of(result.losses));
    outcome.correct.push_back(bytes_of(result.correct));
  }
  void train(int steps) {
    for (int step = 0; step < steps; ++step) {
      const SmallBatch batch(kMicroBatches, static_cast<std::uint64_t>(step));
      run(batch.input(step, options.optimizer.get()));
    }
    for (const StateEntry& entry : loop.state()) {
      const OwnedTensor value = loop.get_state(entry.name);
      outcome.weights[entry.name] = bytes_of(value.tensor);
    }
  }
  void evaluate() { run(SmallBatch(kMicroBatches, 77).evaluation()); }

  PipelineOptions options;
  Network network;
  ProcessPipeline loop;
  Outcome outcome;
};

// In every process; the weights are in the first one.
void expect_bits_of_the_plain_loop(World& world, const Case& c) {
  ProcessJob job(c, world);
  job.train(kSteps);
  job.evaluate();
  Outcome expected = plain_outcome(c);
  if (world.rank() != 0) job.outcome.weights = expected.weights;
  EXPECT_EQ(job.outcome, expected) << c.schedule << ", " << c.cuts.size() + 1 << " stages, "
                                   << c.replicas << " replicas, process " << world.rank();
}

const std::vector<int> kAllPass2(2, 0), kAllPass4(4, 0);

TEST(ProcessPipeline, SameBitsForTwoProcesses) {
  EXPECT_EQ(run_forked(2,
                       [](World& world) {
                         for (const char* schedule : {"naive", "gpipe", "1f1b", "zb-h1"}) {
                           expect_bits_of_the_plain_loop(world, {schedule, {6}, 1});
                         }
                         expect_bits_of_the_plain_loop(world, {"1f1b", {1}, 1});
                         expect_bits_of_the_plain_loop(world, {"naive", {}, 2});
                       }),
            kAllPass2);
}

TEST(ProcessPipeline, SameBitsForFourProcesses) {
  EXPECT_EQ(run_forked(4,
                       [](World& world) {
                         for (const char* schedule : {"naive", "gpipe", "1f1b", "zb-h1"}) {
                           expect_bits_of_the_plain_loop(world, {schedule, {2, 5, 9}, 1});
                           expect_bits_of_the_plain_loop(world, {schedule, {6}, 2});
                         }
                         expect_bits_of_the_plain_loop(world, {"naive", {}, 4});
                       }),
            kAllPass4);
}

TEST(ProcessPipeline, SameBitsHoweverTheUpdateIsShared) {
  EXPECT_EQ(run_forked(4,
                       [](World& world) {
                         for (const auto& [shards, overlaps] :
                              {std::pair{true, false}, {false, true}, {true, true}}) {
                           Case c{"1f1b", {6}, 2};
                           c.shards_optimizer = shards;
                           c.overlaps_sum = overlaps;
                           expect_bits_of_the_plain_loop(world, c);
                           c.optimizer = testing::small_adam();
                           c.clip_norm = 0.05;
                           expect_bits_of_the_plain_loop(world, c);
                           c.cuts = {};
                           c.replicas = 4;
                           c.schedule = "gpipe";
                           expect_bits_of_the_plain_loop(world, c);
                         }
                       }),
            kAllPass4);
}

TEST(ProcessPipeline, SameBitsWithSeveralStagesOnARank) {
  EXPECT_EQ(run_forked(2,
                       [](World& world) {
                         expect_bits_of_the_plain_loop(world, {"interleaved", {2, 5, 9}, 1, 2});
                         expect_bits_of_the_plain_loop(world, {"zb-v", {2, 5, 9}, 1, 2});
                       }),
            kAllPass2);
}

TEST(ProcessPipeline, SameBitsWithRecomputationAdamAndClipping) {
  EXPECT_EQ(run_forked(4,
                       [](World& world) {
                         Case c{"1f1b", {6}, 2, 1, Recompute::kAlways};
                         expect_bits_of_the_plain_loop(world, c);
                         c.optimizer = testing::small_adam();
                         expect_bits_of_the_plain_loop(world, c);
                         c.clip_norm = 0.05;
                         expect_bits_of_the_plain_loop(world, c);
                         expect_bits_of_the_plain_loop(
                             world, {"interleaved", {2, 5, 9}, 2, 2, Recompute::kNever, 0.05});
                       }),
            kAllPass4);
}

// All processes throw the same, no weight changes, and the next step is as if nothing had been.
TEST(ProcessPipeline, ALossThatIsNotFiniteChangesNoWeightOfAny) {
  const auto body = [](World& world) {
    const Case c{"1f1b", {6}, 2};
    ProcessJob job(c, world);
    SmallBatch bad(kMicroBatches, 3);
    const std::int64_t image = bad.images.tensor.elements() / (kMicroBatches * 3);
    bad.images.tensor.as<float>()[16 * image] = std::numeric_limits<float>::infinity();
    testing::expect_error([&] { job.loop.run(bad.input(0, job.options.optimizer.get())); },
                          {"training step 1: expected a finite loss", "sample 1 of micro-batch 5"});
    const auto found = job.loop.first_nonfinite(bad.input(0, nullptr), kMicroBatches);
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->layer, 0);
    EXPECT_EQ(found->micro_batch, 5);
    EXPECT_TRUE(job.loop.stages_agree());
    job.train(kSteps);
    job.evaluate();
    Outcome expected = plain_outcome(c);
    if (world.rank() != 0) job.outcome.weights = expected.weights;
    EXPECT_EQ(job.outcome, expected);
  };
  EXPECT_EQ(run_forked(4, body), kAllPass4);
}

TEST(ProcessPipeline, FindsTheLayerOfAnyProcess) {
  const auto body = [](World& world) {
    ProcessJob job({"1f1b", {2, 5, 9}}, world);
    const OwnedTensor weight = job.loop.get_state("fc2.weight");
    OwnedTensor bad(row_major({10, 21}));
    bad.tensor.as<float>()[0] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(job.loop.is_finite("fc2.weight"));
    job.loop.set_state("fc2.weight", bad.tensor);
    EXPECT_EQ(job.loop.has_state("fc2.weight"), world.rank() == 3);
    EXPECT_FALSE(job.loop.is_finite("fc2.weight"));
    const auto found =
        job.loop.first_nonfinite(SmallBatch(kMicroBatches, 1).input(0, nullptr), kMicroBatches);
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->layer, 11);
    EXPECT_EQ(found->micro_batch, 0);
  };
  EXPECT_EQ(run_forked(4, body), kAllPass4);
}

// What is planned is what is used, and everybody knows it of all.
TEST(ProcessPipeline, SummariesAndTraceAreOfAllRanks) {
  const auto body = [](World& world) {
    ProcessJob job({"1f1b", {6}, 2}, world);
    job.train(1);
    const std::vector<StageSummary> stages = job.loop.summaries();
    ASSERT_EQ(stages.size(), 2U);
    EXPECT_EQ(stages[1].first, 6);
    for (const StageSummary& stage : stages) EXPECT_EQ(stage.planned_bytes, stage.peak_bytes);
    const std::vector<TraceEvent> trace = job.loop.trace(Clock::now(), 7);
    EXPECT_EQ(trace.empty(), world.rank() != 0);
    if (world.rank() != 0) return;
    int forwards = 0;
    for (const TraceEvent& event : trace) {
      EXPECT_EQ(event.step, 7);
      EXPECT_LT(event.end, 0);
      EXPECT_LE(event.start, event.end);
      forwards += event.kind == TraceKind::kForward ? 1 : 0;
    }
    EXPECT_EQ(forwards, 2 * kMicroBatches / 2);
  };
  EXPECT_EQ(run_forked(4, body), kAllPass4);
}

// Whose images a process needs: a replica's on its first stage, else none.
TEST(ProcessPipeline, ReadsTheRowsOfItsReplica) {
  const auto body = [](World& world) {
    ProcessJob job({"1f1b", {6}, 2}, world);
    const TrainingLoop::Rows rows = job.loop.input_rows(24);
    EXPECT_EQ(rows.first, world.rank() == 1 ? 12 : 0);
    EXPECT_EQ(rows.count, world.rank() < 2 ? 12 : 0);
  };
  EXPECT_EQ(run_forked(4, body), kAllPass4);
}

// Of two stages on a rank each. In process 0.
std::vector<TraceEvent> trace_of_step(World& world, const Calibration* calibration) {
  Case c{"1f1b", {6}};
  c.calibration = calibration;
  ProcessJob job(c, world);
  job.train(1);
  return job.loop.trace({}, 1);
}

double start_of_first_forward(const std::vector<TraceEvent>& events, int rank) {
  const auto found = std::ranges::find_if(events, [&](const TraceEvent& event) {
    return event.rank == rank && event.kind == TraceKind::kForward;
  });
  EXPECT_NE(found, events.end());
  return found->start;
}

// Of all messages, both ways: a message of stage 0 is an activation, of stage 1 a gradient.
int sends_that_end_after_their_receives(const std::vector<TraceEvent>& events) {
  int messages = 0, wrong = 0;
  for (const TraceEvent& sent : events) {
    if (sent.kind != TraceKind::kSend) continue;
    for (const TraceEvent& received : events) {
      if (received.kind != TraceKind::kReceive || received.stage == sent.stage) continue;
      if (received.micro_batch != sent.micro_batch) continue;
      ++messages;
      if (sent.end > received.end) ++wrong;
    }
  }
  EXPECT_EQ(messages, 2 * kMicroBatches);
  return wrong;
}

TEST(ProcessPipeline, TracesOfMachinesWhoseClocksAreApartAreOnOneClock) {
  constexpr int kNoClock = 77;
  const auto before = [](int rank) {
    const std::string why = rank == 1 ? testing::set_clock_ahead(3) : "";
    if (why.empty()) return;
    std::fprintf(stderr, "no clock of its own for process 1: %s\n", why.c_str());
    ::_exit(kNoClock);
  };
  const auto body = [](World& world) {
    const Calibration calibration(world);
    EXPECT_EQ(calibration.machines(), 2);
    const auto offset = std::chrono::duration<double>(calibration.offset()).count();
    EXPECT_NEAR(offset, world.rank() == 0 ? 0 : -3, 0.011);
    const auto apart = trace_of_step(world, nullptr), together = trace_of_step(world, &calibration);
    if (world.rank() != 0) return;
    const auto between_ranks = [](const std::vector<TraceEvent>& events) {
      return start_of_first_forward(events, 1) - start_of_first_forward(events, 0);
    };
    EXPECT_GT(between_ranks(apart), 3);
    EXPECT_EQ(sends_that_end_after_their_receives(apart), kMicroBatches);  // all gradients
    EXPECT_GT(between_ranks(together), 0);
    EXPECT_LT(between_ranks(together), 2.9);
    EXPECT_EQ(sends_that_end_after_their_receives(together), 0);
  };
  const std::vector<int> statuses = run_forked(2, body, before);
  if (statuses[1] == kNoClock) GTEST_SKIP() << "time namespaces need root: see above";
  EXPECT_EQ(statuses, kAllPass2);
}

// The one that fails says where; the others end with its words.
TEST(ProcessPipeline, AnErrorEndsAllProcesses) {
  const auto body = [](World& world) {
    const auto hook = [&](Context& context, ActionKind kind, std::int64_t micro) {
      if (world.rank() != 3 || kind != ActionKind::kBackwardInput || micro != 2) return;
      context.stream().enqueue([] { throw Error("layer", "nothing", "this"); });
    };
    ProcessJob job({"1f1b", {6}, 2}, world, testing::hooked_network(8, hook));
    try {
      job.train(1);
      ADD_FAILURE() << "no error";
    } catch (const PeerError& error) {
      EXPECT_NE(world.rank(), 3);
      EXPECT_NE(error.message().find("replica 1, rank 1, stage 1, B of micro-batch 2: layer"),
                std::string::npos)
          << error.message();
    } catch (const Error& error) {
      EXPECT_EQ(world.rank(), 3);
      EXPECT_EQ(error.message(),
                "process 3: replica 1, rank 1, stage 1, B of micro-batch 2: layer: expected "
                "nothing, got this");
    }
    EXPECT_FALSE(job.loop.stages_agree());
  };
  EXPECT_EQ(run_forked(4, body), kAllPass4);
}

TEST(ProcessPipeline, ADeadProcessEndsTheOthers) {
  const auto body = [](World& world) {
    const auto hook = [&](Context&, ActionKind kind, std::int64_t micro) {
      if (world.rank() == 2 && kind == ActionKind::kForward && micro == 3) ::raise(SIGKILL);
    };
    ProcessJob job({"1f1b", {6}, 2}, world, testing::hooked_network(8, hook));
    job.train(1);
  };
  EXPECT_EQ(run_forked(4, body), (std::vector<int>{1, 1, 128 + SIGKILL, 1}));
}

// A layer that does not end is named, with what it was told to do.
TEST(ProcessPipeline, AProcessThatComputesForEverEndsAll) {
  const auto body = [](World& world) {
    WatchOptions watching;
    watching.peer_timeout = std::chrono::milliseconds(2000);
    watching.describe = describe_activity;
    watching.say = [&](const std::string& words) {
      EXPECT_EQ(world.rank(), 1) << words;
      EXPECT_NE(words.find("got process 1 on "), std::string::npos) << words;
      EXPECT_NE(words.find("it was last in step 2, stage 1, BW of micro-batch 2"),
                std::string::npos)
          << words;
    };
    watching.last_resort = [&] { testing::end_process(::testing::Test::HasFailure() ? 1 : 3); };
    Watch watch(world, watching);
    int weights = 0;
    const auto hook = [&](Context& context, ActionKind kind, std::int64_t micro) {
      if (world.rank() != 1 || kind != ActionKind::kBackwardWeight || micro != 2) return;
      if (++weights < 2) return;
      context.stream().enqueue([] {
        for (std::atomic<bool> goes_on = true; goes_on;) {
        }
      });
    };
    Case c{"1f1b", {6}};
    c.watch = &watch;
    ProcessJob job(c, world, testing::hooked_network(8, hook));
    try {
      job.train(2);
      ADD_FAILURE() << "no error";
    } catch (const PeerError& error) {
      EXPECT_NE(error.message().find("got process 1 on "), std::string::npos) << error.message();
    }
  };
  EXPECT_EQ(run_forked(2, body), (std::vector<int>{0, 3}));
}

// Each has room for its plan, but the machine has not for both.
TEST(ProcessPipeline, PlansForAllProcessesOfAMachine) {
  const auto body = [](World& world) {
    PipelineOptions options = options_of({"1f1b", {6}}, &world);
    options.other_bytes = available_memory_bytes({}) / 10 * 6;
    const Network network = testing::small_network();
    const std::vector<LayerPlan> plans = network.plan(testing::small_input(), options.target);
    testing::expect_error([&] { ProcessPipeline(network, plans, options); },
                          {"the plan of all processes on this machine"});
  };
  EXPECT_EQ(run_forked(2, body), kAllPass2);
}

TEST(ProcessPipeline, RefusesWhatCannotBe) {
  const auto body = [](World& world) {
    testing::expect_error(
        [&] {
          ProcessJob job({"1f1b", {2, 5}}, world);
        },
        {"3 processes, for 3 ranks of 1 replicas, got 2"});
    const Network network = testing::small_network();
    PipelineOptions options = options_of({"gpipe", {}, 2}, &world);
    options.unordered_sum = true;
    const std::vector<LayerPlan> plans = network.plan(testing::small_input(), options.target);
    const auto make = [&] { ProcessPipeline(network, plans, options); };
    testing::expect_error(make, {"expected one that adds by itself"});
    options.shards_optimizer = true;
    testing::expect_error(make, {"each with all states, for an unordered sum, got shares"});
  };
  EXPECT_EQ(run_forked(2, body), kAllPass2);
}

}  // namespace
}  // namespace stagecoach
