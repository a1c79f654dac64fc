// The program on machines that fail it: full disks, closed descriptors, readers that are gone,
// signals. Each output is on its own, and what was trained is not lost.
#include <gtest/gtest.h>
#include <pty.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/bfloat16.h"
#include "core/safetensors.h"
#include "tests/trainer/program_run.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::content_of;
using testing::expect_failure_said;
using testing::expect_has;
using testing::files_in;
using testing::Options;
using testing::ProgramResult;
using testing::run_command;
using testing::run_program;
using testing::run_shell;
using testing::run_train;
using testing::ScratchFolder;
using testing::train_arguments;
using testing::write_text;

const std::string kFull = "No space left on device";

class Faults : public ::testing::Test {
 protected:
  std::string file(const std::string& name) const { return folder_.path() / name; }
  // All outputs, into the folder.
  Options outputs() const {
    return {{"--save", file("weights")},
            {"--metrics", file("metrics")},
            {"--report", file("report")},
            {"--trace", file("trace")},
            {"--svg", file("svg")}};
  }

  const ScratchFolder folder_;
};

// Whatever cannot be written is said, and costs nothing else.
TEST_F(Faults, OneOutputThatFailsCostsNoOther) {
  for (const char* option : {"--save", "--report", "--metrics"}) {
    SCOPED_TRACE(option);
    Options options = outputs();
    options[option] = "/dev/full";
    options["--steps"] = "1";
    const ProgramResult result = run_train(options);
    EXPECT_EQ(result.exit_code, 1);
    expect_has(result.out, "images/s");
    expect_has(result.err, "'/dev/full'");
    expect_has(result.err, kFull);
    EXPECT_EQ(files_in(folder_.path()).size(), 4u);
    for (const auto& [name, value] : options) {
      if (value.starts_with("/dev") || name == "--steps") continue;
      EXPECT_FALSE(content_of(value).empty()) << value;
      fs::remove(value);
    }
  }
}

TEST_F(Faults, OfSimulateToo) {
  const ProgramResult result = run_program(
      {"simulate", "--json", "/dev/full", "--svg", file("svg"), "--text", file("text")});
  EXPECT_EQ(result.exit_code, 1);
  expect_has(result.out, "bubble");
  expect_has(result.err, kFull);
  EXPECT_EQ(files_in(folder_.path()).size(), 2u);
}

TEST_F(Faults, AnOutputThatCannotBePrintedIsAnExitStatus) {
  expect_failure_said(run_train({{"--steps", "1"}, {"--report", file("report")}}, "/dev/full"), 1,
                      {"standard output", kFull});
  EXPECT_TRUE(fs::exists(file("report")));
  for (const char* command : {"--help", "--version", "train --help", "info", "simulate"}) {
    SCOPED_TRACE(command);
    EXPECT_EQ(run_shell("\"$B\" $1 > /dev/full", {command}).exit_code, 1);
    EXPECT_EQ(run_shell("\"$B\" $1 >&-", {command}).exit_code, 1);
  }
}

TEST_F(Faults, AMessageThatCannotBePrintedChangesNoExitStatus) {
  for (const char* where : {"2> /dev/full", "2>&-", "> /dev/full 2>&1", ">&- 2>&- <&-"}) {
    SCOPED_TRACE(where);
    const std::string end = where;
    EXPECT_EQ(run_shell("\"$B\" simulate --stages x " + end).exit_code, 2);
    EXPECT_EQ(run_shell("\"$B\" simulate --schedule nosuch.txt " + end).exit_code, 1);
  }
}

// The first file that is opened would have the number of the closed one.
TEST_F(Faults, ProgressNeverLandsInAFile) {
  std::vector<std::string> arguments = train_arguments({{"--metrics", file("metrics")}});
  std::erase(arguments, "--quiet");
  EXPECT_EQ(run_shell("\"$B\" \"$@\" 2>&- > /dev/null", arguments).exit_code, 0);
  std::istringstream lines(content_of(file("metrics")));
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    EXPECT_TRUE(json::accept(line)) << line;
  }
  EXPECT_EQ(count, 2);
}

TEST_F(Faults, AReaderThatIsGoneEndsNothing) {
  std::vector<std::string> arguments =
      train_arguments({{"--metrics", "/dev/fd/3"}, {"--save", file("weights")}, {"--steps", "4"}});
  const ProgramResult result = run_shell("\"$B\" \"$@\" 3> >(head -c 1 > /dev/null)", arguments);
  EXPECT_EQ(result.exit_code, 1);
  expect_has(result.err, "training goes on");
  expect_has(result.out, "4 steps");
  EXPECT_NO_THROW(SafetensorsFile(file("weights")));
  // As any program whose reader has seen enough.
  const ProgramResult piped = run_shell("\"$B\" simulate | true; exit ${PIPESTATUS[0]}");
  EXPECT_TRUE(piped.exit_code == 0 || piped.exit_code == 128 + SIGPIPE) << piped.exit_code;
  EXPECT_EQ(piped.err, "");
}

TEST_F(Faults, ADashIsTheStandardOutput) {
  const ProgramResult result = run_train({{"--report", "-"}, {"--steps", "1"}});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(json::parse(result.out)["steps"], 1);
  expect_has(result.err, "images/s");
  const ProgramResult csv = run_program({"simulate", "--csv", "-"});
  EXPECT_EQ(csv.out.substr(0, 4), "0F0,");
  expect_has(csv.err, "bubble");
  const std::string redirected = file("redirected");
  EXPECT_EQ(run_shell("\"$B\" simulate --json /dev/stdout > \"$1\"", {redirected}).exit_code, 0);
  EXPECT_TRUE(json::accept(content_of(redirected)));
}

// The weights are those after the last good step; all else is told as far as it went.
TEST_F(Faults, ALearningRateThatExplodesLosesNothing) {
  Options options = outputs();
  options["--lr"] = "1e20";
  options["--steps"] = "9";
  const ProgramResult result = run_train(options);
  expect_failure_said(result, 1,
                      {"training step 2", "in the output of layer", "try a smaller --lr"});
  expect_has(result.out, "ended after 1 of 9 steps");
  EXPECT_EQ(files_in(folder_.path()).size(), 5u);
  EXPECT_EQ(json::parse(content_of(file("metrics")))["step"], 1);
  const json report = json::parse(content_of(file("report")));
  EXPECT_EQ(report["steps"], 1);
  EXPECT_EQ(report["planned_steps"], 9);
  expect_has(report["ended_by"], "training step 2");
  ASSERT_EQ(run_train({{"--lr", "1e20"}, {"--steps", "1"}, {"--save", file("one")}}).exit_code, 0);
  EXPECT_TRUE(content_of(file("one")) == content_of(file("weights")));
}

// Before the first step ended well there is nothing to save, and an old file stays.
TEST_F(Faults, UntrainedWeightsReplaceNothing) {
  write_text(file("weights"), "old");
  std::vector<std::string> arguments = train_arguments({{"--save", file("weights")}});
  const ProgramResult result = run_shell("\"$B\" \"$@\" & kill -TERM $!; wait $!", arguments);
  EXPECT_TRUE(result.exit_code == 143) << result.exit_code << result.err;
  EXPECT_EQ(content_of(file("weights")), "old");
}

// Waits for the second line of the metrics, then sends the signals.
ProgramResult run_with_signals(const Options& options, const std::string& metrics,
                               const std::string& signals) {
  Options all = options;
  all["--metrics"] = metrics;
  all["--steps"] = "200";
  std::vector<std::string> arguments = train_arguments(all);
  arguments.insert(arguments.begin(), {metrics, signals});
  return run_shell(
      "set -m\n"  // or what runs beside a script ignores Ctrl-C
      "metrics=$1; signals=$2; shift 2\n"
      "\"$B\" \"$@\" & child=$!\n"
      "until [[ $(cat \"$metrics\" 2>/dev/null | wc -l) -ge 2 ]]; do sleep 0.05; done\n"
      "for s in $signals; do kill -$s $child; sleep 0.05; done\n"
      "wait $child",
      arguments);
}

TEST_F(Faults, ASignalEndsTheStepAndWritesEverything) {
  const std::map<std::string, int> exit_codes = {{"INT", 130}, {"USR1", 138}};
  for (const auto& [signal, exit_code] : exit_codes) {
    SCOPED_TRACE(signal);
    const ProgramResult result = run_with_signals(outputs(), file("metrics"),
                                                  signal == "INT" ? "INT" : signal + " " + signal);
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    expect_has(result.err, "of 200 by SIG" + signal + "; go on from these weights with");
    expect_has(result.err, "--init '" + file("weights") + "'");
    expect_has(result.out, " of 200 steps");
    const json report = json::parse(content_of(file("report")));
    EXPECT_EQ(report["ended_by"], "SIG" + signal);
    EXPECT_GE(report["steps"], 2);
    EXPECT_NO_THROW(SafetensorsFile(file("weights")));
    EXPECT_EQ(files_in(folder_.path()).size(), 5u);
    for (const auto& [name, content] : files_in(folder_.path())) fs::remove(name);
  }
}

TEST_F(Faults, ASecondCtrlCEndsAtOnce) {
  const Options slow = {
      {"--save", file("weights")}, {"--micro-batches", "32"}, {"--max-train-samples", "64"}};
  const ProgramResult result = run_with_signals(slow, file("metrics"), "INT INT");
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_EQ(result.out, "");
  EXPECT_FALSE(fs::exists(file("weights")));
}

// Linux has names that are no UTF-8.
TEST_F(Faults, NamesThatAreNoUtf8AreMadeSafe) {
  const std::string table = file("caf\xe9\x1b[31m.txt");
  ASSERT_EQ(
      run_program({"simulate", "--stages", "2", "--micro-batches", "2", "--text", table}).exit_code,
      0);
  const ProgramResult simulated =
      run_program({"simulate", "--schedule", table, "--json", file("json"), "--svg", file("svg")});
  EXPECT_EQ(simulated.exit_code, 0) << simulated.err;
  expect_has(simulated.out, "caf\\xe9\\x1b[31m.txt");
  EXPECT_TRUE(json::accept(content_of(file("json"))));
  EXPECT_EQ(content_of(file("svg")).find('\xe9'), std::string::npos);
  EXPECT_EQ(content_of(file("svg")).find('\x1b'), std::string::npos);
  const ProgramResult trained = run_train({{"--schedule", table},
                                           {"--micro-batches", "no"},
                                           {"--report", file("report")},
                                           {"--svg", file("timeline")}});
  EXPECT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_TRUE(json::accept(content_of(file("report"))));
  const ProgramResult wrong = run_program({"simulate", "--schedule", "no\x1b[31m\xe9.txt"});
  expect_has(wrong.err, "'no\\x1b[31m\\xe9.txt'");
}

TEST_F(Faults, WeightsInHalfPrecisionAreConverted) {
  ASSERT_EQ(run_train({{"--save", file("f32")}, {"--steps", "1"}}).exit_code, 0);
  const SafetensorsFile full(file("f32"));
  std::vector<NamedTensor> tensors;
  std::vector<OwnedTensor> values;
  for (const std::string& name : full.names()) {
    TensorSpec spec = full.spec(name);
    const OwnedTensor exact(spec);
    full.read(name, exact.tensor);
    spec.dtype = DType::kBF16;
    values.emplace_back(spec);
    for (std::int64_t i = 0; i < spec.elements(); ++i) {
      values.back().tensor.as<BFloat16>()[i] = BFloat16(exact.tensor.as<float>()[i]);
    }
    tensors.push_back({name, values.back().tensor});
  }
  write_safetensors(file("bf16"), tensors, {{"somebody's", "metadata"}});
  std::vector<std::string> arguments = train_arguments({{"--init", file("bf16")}});
  std::erase(arguments, "--quiet");
  const ProgramResult result = run_program(arguments);
  EXPECT_EQ(result.exit_code, 0);
  expect_has(result.err, "holds weights in BF16: converted to F32");
}

// Of a terminal of so many columns: the rows that the progress leaves.
std::size_t rows_of_progress(unsigned short columns) {
  const struct winsize size = {24, columns, 0, 0};
  int terminal = -1;
  std::vector<std::string> words = train_arguments({{"--steps", "1200"},
                                                    {"--image-size", "63"},
                                                    {"--micro-batch-size", "1"},
                                                    {"--micro-batches", "1"},
                                                    {"--stages", "0"},
                                                    {"--dropout", "0"}});
  std::erase(words, "--quiet");
  words.insert(words.begin(), STAGECOACH_BINARY);
  const pid_t child = ::forkpty(&terminal, nullptr, nullptr, &size);
  if (child == 0) {
    ::execv(STAGECOACH_BINARY, testing::pointers_to(words).data());
    ::_exit(127);
  }
  std::string text;
  char block[4096];
  for (ssize_t bytes = 0; (bytes = ::read(terminal, block, sizeof block)) > 0;) {
    text.append(block, static_cast<std::size_t>(bytes));
    if (text.find("step    5/") != std::string::npos) ::kill(child, SIGKILL);
  }
  ::close(terminal);
  ::waitpid(child, nullptr, 0);
  std::size_t longest = 0;
  for (std::size_t at = text.find("\rstep"); at != std::string::npos;
       at = text.find("\rstep", at)) {
    const std::size_t end = text.find('\x1b', ++at);
    if (end == std::string::npos) break;
    longest = std::max(longest, end - at);
  }
  return longest == 0 ? 0 : (longest + columns - 1) / columns;
}

TEST_F(Faults, ProgressFitsIntoTheTerminal) {
  for (const unsigned short columns : {80, 30}) {
    EXPECT_EQ(rows_of_progress(columns), 1u) << columns;
  }
}

}  // namespace
}  // namespace stagecoach
