// `stagecoach train` by a table whose stages are on different numbers of ranks: the weights of
// copies of all stages, and checkpoints that either goes on from.
#include <gtest/gtest.h>

#include "tests/trainer/program_run.h"

namespace stagecoach {
namespace {

using testing::content_of;
using testing::expect_error;
using testing::expect_has;
using testing::ProgramResult;
using testing::run_program;
using testing::ScratchFolder;

class TrainTable : public ::testing::Test {
 protected:
  void SetUp() override {
    const ProgramResult made = run_program(
        {"simulate", "--replicas", "2,1", "--micro-batches", "2", "--text", file("table.txt")});
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }
  std::string file(const std::string& name) const { return folder_.path() / name; }

  // The weights after `steps`, and what was printed.
  std::string trained(std::vector<std::string> arguments, int steps,
                      const std::string& checkpoints = "") {
    arguments.insert(arguments.begin(),
                     {"train", "--data", "synthetic", "--quiet", "--micro-batch-size", "1",
                      "--image-size", "64", "--max-train-samples", "32", "--gradient-groups", "2",
                      "--steps", std::to_string(steps), "--save", file("weights")});
    if (!checkpoints.empty()) {
      arguments.insert(arguments.end(), {"--checkpoint-dir", file(checkpoints), "--resume"});
    }
    const ProgramResult result = run_program(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    text_ = result.out + result.err;
    return content_of(file("weights"));
  }
  std::string text() const { return text_; }

 private:
  const ScratchFolder folder_;
  std::string text_;
};

TEST_F(TrainTable, TheWeightsOfCopiesOfAllStages) {
  const std::vector<std::string> copies = {"--stages",        "2", "--replicas",  "2",
                                           "--micro-batches", "2", "--partition", "13"};
  const std::vector<std::string> table = {"--schedule", file("table.txt"), "--partition", "13"};
  const std::vector<std::string> shared = {
      "--schedule", file("table.txt"), "--partition", "13", "--zero", "1", "--overlap"};
  const std::string expected = trained(copies, 2);
  EXPECT_EQ(trained(table, 2), expected);
  EXPECT_EQ(trained({"--replicas", "2,1", "--micro-batches", "2", "--partition", "13"}, 2),
            expected);
  EXPECT_EQ(trained(shared, 2), expected);
  expect_has(text(), "sum of gradients over the table's replicas: ");
  trained(shared, 1, "from table");
  EXPECT_EQ(trained(copies, 2, "from table"), expected);
  trained(copies, 1, "from copies");
  EXPECT_EQ(trained(table, 2, "from copies"), expected);
}

TEST_F(TrainTable, RefusesReplicasThatDoNotFit) {
  const auto refuses = [&](std::vector<std::string> arguments, std::vector<std::string> words) {
    arguments.insert(arguments.begin(), {"train", "--data", "synthetic"});
    expect_error(run_program(arguments), 2, words);
  };
  refuses({"--replicas", "2,1", "--stages", "3"},
          {"as many numbers as --stages 3", "--replicas 2,1"});
  refuses({"--replicas", "2,1", "--chunks", "2"}, {"--replicas of each stage, or --chunks"});
  refuses({"--replicas", "2,1", "--schedule", file("table.txt")}, {"one number for --replicas"});
  refuses({"--replicas", "2,1", "--schedule", "zb-h1"}, {"naive, gpipe or 1f1b", "'zb-h1'"});
  refuses({"--replicas", "3,1"}, {"--replicas of 1, 2, 4, 8, ..., like 2 or 2,1", "'3,1'"});
  refuses({"--replicas", "2,1", "--micro-batches", "0"}, {"--micro-batches of at least 1"});
}

TEST_F(TrainTable, GroupsAreThoseOfTheTableAtLeast) {
  expect_error(run_program({"train", "--data", "synthetic", "--schedule", file("table.txt"),
                            "--gradient-groups", "1"}),
               2,
               {"--gradient-groups: a power of two that divides the 4 micro-batches",
                "at least the 2 replicas"});
}

}  // namespace
}  // namespace stagecoach
