// The program as users start it in several processes: by Open MPI's mpirun and MPICH's mpiexec,
// more of them than cores, as root; and by launchers that no MPI understands.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <chrono>
#include <cstring>
#include <future>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "core/available_cores.h"
#include "tests/trainer/program_run.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;
using testing::content_of;
using testing::expect_error;
using testing::expect_has;
using testing::expect_lacks;
using testing::Options;
using testing::ProgramResult;
using testing::run_command;
using testing::run_shell;
using testing::run_train;
using testing::ScratchFolder;
using testing::train_arguments;

using Words = std::vector<std::string>;

struct Launcher {
  std::string name, path;  // no path: this build has no plug-in for its MPI
  Words options;           // for more processes than cores, from root
};
void PrintTo(const Launcher& launcher, std::ostream* out) {
  *out << launcher.name;
}
const Launcher kOpenMpi = {
    "OpenMpi", STAGECOACH_MPIEXEC_OPENMPI, {"--allow-run-as-root", "--oversubscribe"}};
const Launcher kMpich = {"Mpich", STAGECOACH_MPIEXEC_MPICH, {}};

// A minute at most: what hangs is ended by `timeout`, with 124. `bound_to`: "core", "none", or as
// the launcher does by itself.
ProgramResult launch(const Launcher& launcher, int processes, const Words& program,
                     const std::string& bound_to = "") {
  Words words = {"/usr/bin/timeout", "60", launcher.path};
  words.insert(words.end(), launcher.options.begin(), launcher.options.end());
  if (!bound_to.empty()) words.insert(words.end(), {"--bind-to", bound_to});
  words.insert(words.end(), {"-np", std::to_string(processes)});
  words.insert(words.end(), program.begin(), program.end());
  return run_command(words);
}

// The program's words and those of a training; `script`: bash that is run before, with $rank.
Words train_words(const Options& options, const std::string& script = "") {
  Words words = train_arguments(options);
  words.insert(words.begin(), STAGECOACH_BINARY);
  if (script.empty()) return words;
  words.insert(words.begin(),
               {"/bin/bash", "-c",
                "rank=${OMPI_COMM_WORLD_RANK:-$PMI_RANK}; " + script + " exec \"$@\"", "script"});
  return words;
}

// With each MPI that is there.
class EachMpi : public ::testing::TestWithParam<Launcher> {
 protected:
  void SetUp() override {
    if (GetParam().path.empty()) GTEST_SKIP() << "this build has no plug-in for this MPI";
  }
  static ProgramResult train(int processes, const Options& options,
                             const std::string& script = "") {
    return launch(GetParam(), processes, train_words(options, script));
  }

  const ScratchFolder scratch_;
};

class Mpi : public ::testing::Test {
 protected:
  void SetUp() override {
    if (kOpenMpi.path.empty()) GTEST_SKIP() << "this build has no plug-in for Open MPI";
  }
  static ProgramResult mpirun(int processes, const Words& program) {
    return launch(kOpenMpi, processes, program);
  }
  static ProgramResult mpirun_train(int processes, const Options& options,
                                    const std::string& script = "") {
    return mpirun(processes, train_words(options, script));
  }

  const ScratchFolder scratch_;
};

// How often; launchers have words of their own.
int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST_P(EachMpi, FourProcessesTrainAsThreadsDo) {
  const std::string threads = scratch_.path() / "threads",
                    processes = scratch_.path() / "processes", report = scratch_.path() / "report";
  const ProgramResult one =
      run_train({{"--stages", "2"}, {"--replicas", "2"}, {"--save", threads}});
  ASSERT_EQ(one.exit_code, 0) << one.err;
  const ProgramResult four = train(4, {{"--stages", "2"},
                                       {"--zero", "1"},
                                       {"--overlap", ""},
                                       {"--save", processes},
                                       {"--report", report},
                                       {"--quiet", "no"}});
  ASSERT_EQ(four.exit_code, 0) << four.err;
  EXPECT_TRUE(content_of(threads) == content_of(processes));
  EXPECT_EQ(count(four.out, "images/s"), 1) << four.out;  // one process speaks for all
  expect_has(four.out, "R = 2");
  expect_has(four.out, "4 processes, 1 thread each");
  expect_has(four.out, "bubble: measured");
  expect_has(four.out, "sum of gradients over 2 replicas: ");
  EXPECT_EQ(count(four.out, ": equal"), 2) << four.out;
  EXPECT_EQ(count(four.err, "stagecoach: messages: "), 1) << four.err;
  const auto json = nlohmann::json::parse(content_of(report));
  EXPECT_EQ(json["processes"], 4);
  EXPECT_GT(json["transport"]["bytes_per_second"], 0);
  // What a run has measured, another schedule is replayed with.
  const ProgramResult other = run_command({STAGECOACH_BINARY, "simulate", "--costs", report,
                                           "--schedule", "zb-h1", "--json", "/dev/stdout"});
  EXPECT_EQ(other.exit_code, 0) << other.err;
  expect_has(other.out, "\"bandwidth\": ");
}

// The same sum, in another order: near what the tree gives, and nothing that goes on as if it were
// the same.
TEST_P(EachMpi, AddsGradientsInItsOwnOrderWhenAskedTo) {
  const std::string report = scratch_.path() / "report", folder = scratch_.path() / "folder";
  const auto loss_of = [&](const Options& more) {
    Options options = {{"--stages", "1"}, {"--report", report}, {"--quiet", "no"}};
    options.insert(more.begin(), more.end());
    const ProgramResult result = train(4, options);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const bool is_unordered = more.contains("--fast-nondeterministic");
    EXPECT_EQ(count(result.out, "4 replicas, by MPI: "), is_unordered ? 1 : 0) << result.out;
    EXPECT_EQ(count(result.err, "no checksum promises"), is_unordered ? 1 : 0) << result.err;
    const auto json = nlohmann::json::parse(content_of(report));
    EXPECT_EQ(json["fast_nondeterministic"], is_unordered);
    return json["loss_last"].get<double>();
  };
  const double tree = loss_of({});
  EXPECT_NEAR(
      loss_of({{"--fast-nondeterministic", ""}, {"--overlap", ""}, {"--checkpoint-dir", folder}}),
      tree, 1e-4);
  expect_error(
      run_train(
          {{"--stages", "1"}, {"--replicas", "4"}, {"--checkpoint-dir", folder}, {"--resume", ""}}),
      2, {"got fast_nondeterministic nothing instead of true"});
}

// MPICH's launcher kills the others within milliseconds, and says itself what has happened.
TEST_P(EachMpi, AProcessThatDiesInTheMiddleIsSaid) {
  const std::string metrics = scratch_.path() / "metrics";
  const ProgramResult result =
      train(2, {{"--metrics", metrics}, {"--steps", "100000"}},
            "[ $rank = 0 ] || (until [ -s " + metrics + " ]; do sleep 0.1; done; kill -9 $$) &");
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.exit_code, 124) << "the other one did not end";
  if (GetParam().name == kMpich.name) return expect_has(result.out + result.err, "EXIT CODE: 9");
  EXPECT_EQ(count(result.err, "stagecoach: error: "), 1) << result.err;
  expect_has(result.err, "got process 1 on ");
  expect_has(result.err, "which has died; it was last in step ");
}

// Of a process, the thread that has computed the most.
int busiest_thread(const std::string& pid) {
  long most = -1;
  int busiest = 0;
  for (const auto& task : fs::directory_iterator("/proc/" + pid + "/task")) {
    const std::string text = content_of(task.path() / "stat");
    std::istringstream fields(text.substr(text.rfind(')') + 1));
    std::string skipped;
    for (int field = 3; field < 14; ++field) fields >> skipped;
    long ticks = 0;
    if (fields >> ticks && ticks > most) {
      most = ticks;
      busiest = std::stoi(task.path().filename());
    }
  }
  return busiest;
}

// Stops a thread, alone of its process, where it computes: not in a system call. Empty, or why not.
std::string stop_computing(const std::string& pid, int thread) {
  for (int i = 0; i < 1000; ++i) {
    if (::ptrace(PTRACE_ATTACH, thread, nullptr, nullptr) != 0) return std::strerror(errno);
    ::waitpid(thread, nullptr, __WALL);
    const std::string call = content_of(fmt::format("/proc/{}/task/{}/syscall", pid, thread));
    if (call.starts_with("-1")) return "";
    ::ptrace(PTRACE_DETACH, thread, nullptr, nullptr);
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
  return "it waits all the time";
}

// Its other threads go on, that which beats among them.
TEST_F(Mpi, AProcessWhoseComputationDoesNotEndIsNamed) {
  const std::string metrics = scratch_.path() / "metrics", pids = scratch_.path() / "pids";
  auto training = std::async(std::launch::async, [&] {
    return mpirun_train(2, {{"--metrics", metrics}, {"--steps", "100000"}, {"--peer-timeout", "2"}},
                        "[ $rank = 0 ] || echo $$ > " + pids + "; ");
  });
  while (!fs::exists(metrics) || count(content_of(metrics), "\n") < 2) {
    ASSERT_EQ(training.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  }
  const std::string pid = std::to_string(std::stoi(content_of(pids)));
  const int thread = busiest_thread(pid);
  const std::string why_not = stop_computing(pid, thread);
  if (!why_not.empty()) {
    ::kill(std::stoi(pid), SIGTERM);
    training.wait();
    GTEST_SKIP() << "no thread of another process can be stopped: " << why_not;
  }
  ::waitpid(thread, nullptr, __WALL);  // it ends with its process
  const ProgramResult result = training.get();
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.exit_code, 124) << "they did not end";
  EXPECT_EQ(count(result.err, "stagecoach: error: "), 1) << result.err;
  expect_has(result.err, "got process 1 on ");
  expect_has(result.err, "without an end, where no step took more than ");
  expect_has(result.err, "; it was last in step ");
}

TEST_P(EachMpi, ThreadsFollowTheCoresThatTheLauncherHasBound) {
  if (available_cores() < 2) GTEST_SKIP() << "this machine has one core";
  const Options options = {{"--threads", "0"}, {"--steps", "1"}};
  const ProgramResult bound = launch(GetParam(), 2, train_words(options), "core");
  ASSERT_EQ(bound.exit_code, 0) << bound.err;
  expect_has(bound.out, "2 processes, 1 thread each");
  // The first process has all cores for itself where the second one has another set of them.
  const std::string last_core = "$(taskset -c -p $$ | sed 's/.*[ ,-]//')";
  const std::string bind_second = "[ $rank = 0 ] || taskset -c -p " + last_core + " $$ >/dev/null;";
  const ProgramResult apart = launch(GetParam(), 2, train_words(options, bind_second), "none");
  ASSERT_EQ(apart.exit_code, 0) << apart.err;
  expect_has(apart.out, fmt::format("2 processes, {} threads each", available_cores()));
}

INSTANTIATE_TEST_SUITE_P(Mpis, EachMpi, ::testing::Values(kOpenMpi, kMpich));

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
  expect_said_once(
      mpirun_train(2, {{"--stages", "1"}, {"--fast-nondeterministic", ""}, {"--zero", "1"}}), 2,
      "expected --fast-nondeterministic without --zero, got both");
  expect_said_once(mpirun_train(2, {{"--bad", ""}}), 2, "got '--bad'");
  expect_said_once(mpirun_train(2, {{"--peer-timeout", "0.1"}}), 2, "--peer-timeout from 1 to");
  expect_said_once(mpirun_train(2, {{"--device", "cuda"}}), 2, "a GPU for --device cuda");
  expect_said_once(mpirun_train(2, {{"--init", "/nowhere/weights"}}), 1, "/nowhere/weights");
  expect_said_once(mpirun_train(2, {{"--save", "/nowhere/weights"}}), 1, "/nowhere");
}

TEST_F(Mpi, AnOptionOfOneProcessAloneIsNamed) {
  const auto train = [](const std::string& of_second) {
    return mpirun_train(2, {}, "[ $rank = 0 ] || set -- \"$@\" " + of_second + ";");
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
  const ProgramResult result =
      mpirun_train(2, {{"--peer-timeout", "1"}}, "[ $rank = 0 ] || sleep 50;");
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

// One alone that believes to be one of two.
TEST(OtherLaunchers, AnMpiThatDoesNotUnderstandThemIsRefused) {
  const std::string variables = "export PMI_RANK=1 PMI_SIZE=2; ";
  const ScratchFolder scratch;
  const std::string copy = scratch.path() / "stagecoach";
  fs::copy(STAGECOACH_BINARY, copy);
  expect_error(
      run_shell(variables + "exec " + copy + " \"$@\"", train_arguments({})), 1,
      {"the MPI plug-in for mpiexec: expected the library ", "/libstagecoach_mpich.so, got ",
       "install MPICH (libmpich-dev) or Open MPI (libopenmpi-dev) and build again"});
  if (kMpich.path.empty()) GTEST_SKIP() << "this build has no plug-in for MPICH";
  expect_error(
      run_shell(variables + "exec $B \"$@\"", train_arguments({})), 1,
      {"expected 2 processes, as mpiexec says by PMI_RANK=1 and PMI_SIZE=2, got 1 of MPICH ",
       "this launcher is of another MPI"});
}

// Processes that cannot hear each other: the first one says why they do not train.
TEST(OtherLaunchers, AreRefusedInWordsUnlessThreadsAreAskedFor) {
  const auto start = [](const std::string& variables, const Options& options) {
    const std::string unset =
        "unset OMPI_COMM_WORLD_RANK PMI_RANK PMIX_RANK SLURM_PROCID; export " + variables + "; ";
    return run_shell(unset + "exec $B \"$@\"", train_arguments(options));
  };
  const std::string torchrun = "WORLD_SIZE=3 LOCAL_RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 ";
  for (const char* transport : {"auto", "mpi"}) {
    // Before what else is wrong: three processes are no multiple of two stages.
    expect_error(start(torchrun + "RANK=0", {{"--transport", transport}}), 2,
                 {"expected processes that MPI can join, got RANK=0 and WORLD_SIZE=3 of torchrun",
                  "start them with mpirun, mpiexec, or srun --mpi=pmix"});
  }
  const ProgramResult second = start(torchrun + "RANK=1", {});
  EXPECT_EQ(second.exit_code, 2);
  EXPECT_EQ(second.out + second.err, "");
  expect_error(start("SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=2", {}), 2,
               {"got SLURM_PROCID=0 and SLURM_STEP_NUM_TASKS=2 of srun"});
  const ProgramResult alone =
      start(torchrun + "RANK=0", {{"--transport", "threads"}, {"--steps", "1"}});
  EXPECT_EQ(alone.exit_code, 0) << alone.err;
  expect_has(alone.out, "1 thread a stage");
}

}  // namespace
}  // namespace stagecoach
