// A training whose ranks are processes, joined by socket pairs: what it writes is what one process
// writes.
#include <gtest/gtest.h>

#include <csignal>
#include <thread>

#include "core/error.h"
#include "core/interrupt.h"
#include "tests/forked/forked_world.h"
#include "tests/trainer/resume_fixture.h"
#include "trainer/checkpoint.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;
using testing::content_of;
using testing::expect_has;
using testing::Layout;
using testing::run_forked;

class TrainProcesses : public testing::ResumeTest {
 protected:
  TrainProcesses() { groups_ = 4; }

  // `layout` in as many processes as it has ranks and replicas.
  void expect_processes_end_well(const Layout& layout, std::int64_t steps,
                                 const fs::path& checkpoints) const {
    const int processes = layout.stages * layout.replicas;
    const auto body = [&](World& world) {
      TrainRequest wanted = request(layout, steps, checkpoints);
      wanted.replicas = std::nullopt;  // follows from the processes
      wanted.save = checkpoints.parent_path() / "saved";
      expect_ends_well(wanted, &world);
    };
    EXPECT_EQ(run_forked(processes, body), std::vector<int>(static_cast<std::size_t>(processes)));
  }
};

const Layout kThreads = {2, "1f1b", 8, "5"}, kOne = {0, "1f1b", 8},
             kTwoByTwo = {2, "1f1b", 2, "5", Recompute::kNever, 1, 2},
             kFour = {4, "zb-h1", 4, "", Recompute::kNever, 1, 1},
             kReplicas = {1, "gpipe", 2, "", Recompute::kNever, 1, 4},
             kSharded = {2, "1f1b", 2, "5", Recompute::kNever, 1, 2, 1, true},
             kAllSharded = {1, "gpipe", 2, "", Recompute::kNever, 1, 4, 1},
             kTwo = {2, "gpipe", 8, "3", Recompute::kAlways, 2, 1};

TEST_F(TrainProcesses, GoOnFromEachOtherAndFromThreads) {
  constexpr int kSteps = 9;
  recipe_ = true;
  const fs::path never = scratch_.path() / "never", begun = scratch_.path() / "begun";
  expect_ends_well(request(kOne, kSteps, never));
  expect_ends_well(request(kThreads, 1, begun));
  std::int64_t steps = 1;
  for (const Layout& layout : {kTwoByTwo, kSharded, kAllSharded, kReplicas, kFour, kTwo}) {
    SCOPED_TRACE(fmt::format("step {}", steps + 1));
    expect_processes_end_well(layout, ++steps, begun);
  }
  const fs::path folder = begun / "step-00000006";
  for (const char* name :
       {"weights-00001-of-00004.safetensors", "weights-00004-of-00004.safetensors",
        "optimizer-00003-of-00004.safetensors"}) {
    EXPECT_TRUE(fs::exists(folder / name)) << name;
  }
  expect_ends_well(request(kThreads, kSteps, begun));
  EXPECT_TRUE(weights_of(begun, kSteps) == weights_of(never, kSteps));
}

TEST_F(TrainProcesses, SaveTheWeightsOfAll) {
  TrainRequest one = request(kOne, 3, scratch_.path() / "one" / "checkpoints");
  one.save = scratch_.path() / "one" / "saved";
  fs::create_directory(one.save.parent_path());
  expect_ends_well(one);
  for (const Layout& layout : {kTwoByTwo, kFour, kReplicas}) {
    const fs::path other = scratch_.path() / fmt::format("other{}", layout.stages);
    fs::create_directory(other);
    expect_processes_end_well(layout, 3, other / "checkpoints");
    EXPECT_TRUE(content_of(other / "saved") == content_of(one.save));
  }
}

TEST_F(TrainProcesses, ReportOfAllInTheFirst) {
  const auto body = [&](World& world) {
    TrainRequest wanted = request(kTwoByTwo, 3, "");
    wanted.metrics = scratch_.path() / "metrics";
    wanted.svg = scratch_.path() / "svg";
    const TrainOutcome outcome = run(wanted, &world);
    ASSERT_TRUE(outcome.report);
    if (world.rank() != 0) return;
    EXPECT_EQ(outcome.report->processes, 4);
    EXPECT_EQ(outcome.report->replicas, 2);
    ASSERT_EQ(outcome.report->stage.size(), 2U);
    for (const StageReport& stage : outcome.report->stage) EXPECT_GT(stage.forward_seconds, 0);
    ASSERT_EQ(outcome.report->memory.size(), 2U);
    for (const MemoryReport& memory : outcome.report->memory) {
      EXPECT_EQ(memory.planned_bytes, memory.peak_bytes);
    }
    ASSERT_TRUE(outcome.report->bubble);
    EXPECT_GT(outcome.report->bubble->measured, 0);
    EXPECT_GT(outcome.report->bubble->predicted_makespan_seconds, 0);
    EXPECT_EQ(outcome.report->gradient_groups, 4);
    ASSERT_TRUE(outcome.report->transport);
    EXPECT_EQ(outcome.report->transport->machines, 1);
    EXPECT_EQ(outcome.report->transport->clocks_within_seconds, 0);
    EXPECT_GT(outcome.report->transport->messages.latency, 0);
    EXPECT_GT(outcome.report->transport->messages.bandwidth, 0);
    for (const StageReport& stage : outcome.report->stage) EXPECT_GT(stage.reduce_seconds, 0);
    EXPECT_GT(outcome.report->stage[0].message_bytes, 0);
    EXPECT_EQ(outcome.report->stage[1].message_bytes, 0);  // there is no next one
    const std::string lines = content_of(wanted.metrics);
    EXPECT_EQ(std::ranges::count(lines, '\n'), 3);
    EXPECT_GT(content_of(wanted.svg).size(), 1000U);
  };
  EXPECT_EQ(run_forked(4, body), std::vector<int>(4));
}

// Process by process, on machines that have nothing else of two.
TEST_F(TrainProcesses, OfTwoMachinesReadTheirClocks) {
  const auto body = [&](World& world) {
    CalibrationOptions options;
    options.machine = world.rank() == 0 ? "a" : "b";
    options.clocks_last = std::chrono::milliseconds(0);  // again behind each step
    const TrainOutcome outcome = run(request(kTwo, 3, ""), &world, options);
    ASSERT_TRUE(outcome.report);
    if (world.rank() != 0) return;
    ASSERT_TRUE(outcome.report->transport);
    EXPECT_EQ(outcome.report->transport->machines, 2);
    EXPECT_GT(outcome.report->transport->clocks_within_seconds, 0);
  };
  EXPECT_EQ(run_forked(2, body), std::vector<int>(2));
}

TEST_F(TrainProcesses, RefuseAMachineWhoseClockCannotBeKnown) {
  const auto body = [&](World& world) {
    Clock::duration passed{};
    CalibrationOptions options;
    options.machine = std::to_string(world.rank());
    options.clock = [&] { return Clock::now() + (passed += std::chrono::milliseconds(25)); };
    try {
      run(request(kTwo, 3, ""), &world, options);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      expect_has(error.message(), "clocks of the machines: expected a message from process 0 on ");
    }
  };
  EXPECT_EQ(run_forked(2, body), std::vector<int>(2));
}

TEST_F(TrainProcesses, RefuseToTrainWithDifferentSettings) {
  const auto body = [&](World& world) {
    TrainRequest wanted = request(kTwoByTwo, 3, "");
    if (world.rank() == 2) wanted.seed = 5;
    try {
      run(wanted, &world);
      ADD_FAILURE() << "no error";
    } catch (const UsageError& error) {
      expect_has(error.message(), "the same in all processes as in process 0");
      expect_has(error.message(), "got process 2 on ");
      expect_has(error.message(), "seed 5 instead of 1138");
    }
  };
  EXPECT_EQ(run_forked(4, body), std::vector<int>(4));
}

// Of those that one process would go on with alone, while the others wait for it.
TEST_F(TrainProcesses, RefuseToEndAtDifferentSteps) {
  const auto body = [&](World& world) {
    TrainRequest wanted = request(kTwo, world.rank() == 0 ? 3 : 4, "");
    if (world.rank() == 1) wanted.save = scratch_.path() / "saved";
    try {
      run(wanted, &world);
      ADD_FAILURE() << "no error";
    } catch (const UsageError& error) {
      expect_has(error.message(), "steps 4 instead of 3");
      expect_has(error.message(), "save \"");
    }
  };
  EXPECT_EQ(run_forked(2, body), std::vector<int>(2));
}

// All end behind the same step, with a checkpoint.
TEST_F(TrainProcesses, ASignalToOneEndsAll) {
  const fs::path folder = scratch_.path() / "folder", metrics = scratch_.path() / "metrics";
  const auto body = [&](World& world) {
    catch_interrupts();
    std::thread later([&] {
      while (!fs::exists(metrics) || fs::file_size(metrics) == 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      if (world.rank() == 1) ::raise(SIGTERM);
    });
    TrainRequest wanted = request(kTwo, 1'000'000, folder);
    wanted.metrics = metrics;
    const TrainOutcome outcome = run(wanted, &world);
    later.join();
    EXPECT_TRUE(outcome.failures.empty());
    EXPECT_EQ(outcome.signal, SIGTERM);
    ASSERT_TRUE(outcome.report);
    EXPECT_EQ(outcome.report->ended_by, "SIGTERM");
    EXPECT_EQ(read_manifest(checkpoints_in(folder).front()).step, outcome.report->steps);
  };
  EXPECT_EQ(run_forked(2, body), std::vector<int>(2));
}

TEST_F(TrainProcesses, ASignalBeforeTheFirstStepIsOfAll) {
  const auto body = [&](World& world) {
    catch_interrupts();
    if (world.rank() == 1) ::raise(SIGTERM);
    EXPECT_THROW(run(request(kTwo, 3, ""), &world), Interrupted);
  };
  EXPECT_EQ(run_forked(2, body), std::vector<int>(2));
}

// A file that the first process cannot write: the others end well, and nothing hangs.
TEST_F(TrainProcesses, AFileThatCannotBeWrittenCostsNothingElse) {
  const auto body = [&](World& world) {
    TrainRequest wanted = request(kTwo, 2, "");
    wanted.save = "/dev/full";
    wanted.report = scratch_.path() / "report";
    const TrainOutcome outcome = run(wanted, &world);
    EXPECT_EQ(outcome.failures.size(), world.rank() == 0 ? 1U : 0U);
    if (world.rank() == 0) {
      EXPECT_TRUE(fs::exists(wanted.report));
    }
  };
  EXPECT_EQ(run_forked(2, body), std::vector<int>(2));
}

}  // namespace
}  // namespace stagecoach
