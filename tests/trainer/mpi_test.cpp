// The program as users start it in several processes: by mpirun, more of them than cores, as root.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/trainer/program_run.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;
using testing::content_of;
using testing::expect_has;
using testing::expect_lacks;
using testing::Options;
using testing::ProgramResult;
using testing::run_command;
using testing::run_train;
using testing::ScratchFolder;
using testing::train_arguments;

class Mpi : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::string(STAGECOACH_MPIEXEC).empty()) GTEST_SKIP() << "this build has no MPI plug-in";
  }

  // A minute at most: what hangs is ended by `timeout`, with 124.
  static ProgramResult mpirun(int processes, const std::vector<std::string>& program) {
    std::vector<std::string> words = {
        "/usr/bin/timeout", "60",  STAGECOACH_MPIEXEC,       "--allow-run-as-root",
        "--oversubscribe",  "-np", std::to_string(processes)};
    words.insert(words.end(), program.begin(), program.end());
    return run_command(words);
  }
  static ProgramResult mpirun_train(int processes, const Options& options) {
    std::vector<std::string> words = train_arguments(options);
    words.insert(words.begin(), STAGECOACH_BINARY);
    return mpirun(processes, words);
  }
  // How often; mpirun has words of its own.
  static int count(const std::string& text, const std::string& part) {
    int found = 0;
    for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
    return found;
  }

  const ScratchFolder scratch_;
};

TEST_F(Mpi, FourProcessesTrainAsThreadsDo) {
  const std::string threads = scratch_.path() / "threads",
                    processes = scratch_.path() / "processes", report = scratch_.path() / "report";
  const ProgramResult one =
      run_train({{"--stages", "2"}, {"--replicas", "2"}, {"--save", threads}});
  ASSERT_EQ(one.exit_code, 0) << one.err;
  const ProgramResult four = mpirun_train(4, {{"--stages", "2"},
                                              {"--zero", "1"},
                                              {"--overlap", ""},
                                              {"--save", processes},
                                              {"--report", report}});
  ASSERT_EQ(four.exit_code, 0) << four.err;
  EXPECT_TRUE(content_of(threads) == content_of(processes));
  EXPECT_EQ(count(four.out, "images/s"), 1) << four.out;  // one process speaks for all
  expect_has(four.out, "R = 2");
  expect_has(four.out, "4 processes, 1 thread each");
  expect_has(four.out, "bubble: measured");
  expect_has(four.out, "sum of gradients over 2 replicas: ");
  EXPECT_EQ(count(four.out, ": equal"), 2) << four.out;
  EXPECT_EQ(nlohmann::json::parse(content_of(report))["processes"], 4);
}

TEST_F(Mpi, CheckpointsGoOnInAnotherNumberOfProcesses) {
  const std::string never = scratch_.path() / "never", saved = scratch_.path() / "saved",
                    folder = scratch_.path() / "folder";
  const Options groups = {{"--gradient-groups", "2"}};
  const auto with = [&](Options options) {
    options.insert(groups.begin(), groups.end());
    return options;
  };
  ASSERT_EQ(
      run_train(with({{"--steps", "3"}, {"--micro-batches", "4"}, {"--save", never}})).exit_code,
      0);
  const ProgramResult begun =
      mpirun_train(2, with({{"--steps", "1"}, {"--stages", "1"}, {"--checkpoint-dir", folder}}));
  ASSERT_EQ(begun.exit_code, 0) << begun.err;
  const ProgramResult gone_on = mpirun_train(3, with({{"--steps", "3"},
                                                      {"--stages", "3"},
                                                      {"--micro-batches", "4"},
                                                      {"--checkpoint-dir", folder},
                                                      {"--resume", ""},
                                                      {"--save", saved}}));
  ASSERT_EQ(gone_on.exit_code, 0) << gone_on.err;
  EXPECT_TRUE(content_of(saved) == content_of(never));
}

TEST_F(Mpi, OneProcessSaysWhatIsWrongWithAll) {
  const auto expect_said_once = [](const ProgramResult& result, int exit_code,
                                   const std::string& text) {
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(count(result.err, "stagecoach: error: "), 1) << result.err;
    expect_has(result.err, text);
  };
  expect_said_once(mpirun_train(3, {{"--stages", "2"}}), 2,
                   "expected a multiple of --stages 2, got 3 processes");
  expect_said_once(mpirun_train(2, {{"--stages", "0"}}), 2, "got 2 processes and --stages 0");
  expect_said_once(mpirun_train(2, {{"--replicas", "2"}}), 2,
                   "expected 4 processes, for --stages 2 and --replicas 2, got 2 processes");
  expect_said_once(mpirun_train(2, {{"--bad", ""}}), 2, "got '--bad'");
  expect_said_once(mpirun_train(2, {{"--peer-timeout", "0.1"}}), 2, "--peer-timeout from 1 to");
  expect_said_once(mpirun_train(2, {{"--device", "cuda"}}), 2, "NCCL is not there yet");
  expect_said_once(mpirun_train(2, {{"--init", "/nowhere/weights"}}), 1, "/nowhere/weights");
  expect_said_once(mpirun_train(2, {{"--save", "/nowhere/weights"}}), 1, "/nowhere");
}

TEST_F(Mpi, AnOptionOfOneProcessAloneIsNamed) {
  const auto train = [](const std::string& of_second) {
    const std::string script =
        "arguments=(\"$@\"); if [ $OMPI_COMM_WORLD_RANK = 1 ]; then arguments+=(" + of_second +
        "); fi; exec " STAGECOACH_BINARY " \"${arguments[@]}\"";
    std::vector<std::string> words = train_arguments({});
    words.insert(words.begin(), {"/bin/bash", "-c", script, "script"});
    return mpirun(2, words);
  };
  const ProgramResult other_seed = train("--seed 4");
  EXPECT_EQ(other_seed.exit_code, 2);
  EXPECT_EQ(count(other_seed.err, "stagecoach: error: "), 1) << other_seed.err;
  expect_has(other_seed.err, "got process 1 on ");
  expect_has(other_seed.err, "seed 4 instead of 1138");
  const ProgramResult no_option = train("--bad");
  EXPECT_EQ(no_option.exit_code, 2);
  expect_has(no_option.err,
             "stagecoach: error: process 1: stagecoach train: expected a known option");
}

TEST_F(Mpi, AProcessThatDoesNotComeIsNotWaitedForForEver) {
  std::vector<std::string> words = train_arguments({{"--peer-timeout", "1"}});
  words.insert(
      words.begin(),
      {"/bin/bash", "-c",
       "[ $OMPI_COMM_WORLD_RANK = 0 ] || sleep 50; exec " STAGECOACH_BINARY " \"$@\"", "script"});
  const ProgramResult result = mpirun(2, words);
  EXPECT_EQ(result.exit_code, 1) << result.err;
  expect_has(result.err, "expected 2 processes to start within 10 s, got fewer");
}

TEST_F(Mpi, HelpIsPrintedOnceAndThreadsTrainAlone) {
  const ProgramResult help = mpirun(2, {STAGECOACH_BINARY, "train", "--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_EQ(count(help.out, "--transport"), 1) << help.out;
  const ProgramResult alone = mpirun_train(2, {{"--transport", "threads"}, {"--steps", "1"}});
  EXPECT_EQ(alone.exit_code, 0) << alone.err;
  const ProgramResult without = run_train({{"--transport", "mpi"}});
  EXPECT_EQ(without.exit_code, 2);
  expect_has(without.err, "mpirun -np 4 stagecoach train");
}

// Of weights that become infinite: all processes end with the words of one.
TEST_F(Mpi, ALossThatIsNotFiniteIsSaidOnce) {
  const ProgramResult result = mpirun_train(2, {{"--lr", "1e30"}, {"--steps", "5"}});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(count(result.err, "stagecoach: error: "), 1) << result.err;
  expect_has(result.err, "expected a finite loss");
}

}  // namespace
}  // namespace stagecoach
