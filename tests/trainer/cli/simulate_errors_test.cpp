// `stagecoach simulate`, asked for what cannot be: one message that helps, exit code 2 for usage
// and 1 for the rest, and nothing written.
#include <gtest/gtest.h>

#include "tests/trainer/program_run.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;
using testing::content_of;
using testing::expect_error;
using testing::files_in;
using testing::run_program;
using testing::ScratchFolder;
using testing::write_text;

class SimulateErrors : public ::testing::Test {
 protected:
  std::string file(const std::string& name) const { return folder_.path() / name; }

  void expect_failure(std::vector<std::string> arguments, int exit_code,
                      const std::vector<std::string>& parts) {
    SCOPED_TRACE(arguments.empty() ? "" : arguments.front() + " " + arguments.back());
    const auto before = files_in(folder_.path());
    arguments.insert(arguments.begin(), "simulate");
    expect_error(run_program(arguments), exit_code, parts);
    EXPECT_TRUE(files_in(folder_.path()) == before) << "the folder was changed";
  }

  const ScratchFolder folder_;
};

struct Wrong {
  std::vector<std::string> arguments, parts;
};

TEST_F(SimulateErrors, WrongUsageIsExplained) {
  const std::vector<Wrong> cases = {
      {{"--schedule", "1fb1"}, {"forward-only, or a file", "did you mean '1f1b'?"}},
      {{"--schedule", ""}, {"--schedule naive, gpipe", "got ''"}},
      {{"--compare", "gpipe,zbv"}, {"--compare naive", "'zbv'", "did you mean 'zb-v'?"}},
      {{"--compare", ""}, {"names after --compare"}},
      {{"--compare", "gpipe,"}, {"--compare", "got ''"}},
      {{"--compare"}, {"--compare with one value, got none"}},
      {{"--compare", "gpipe", "--schedule", "1f1b"}, {"--compare or --schedule", "both"}},
      {{"--compare", "gpipe", "--ascii"}, {"--compare or --ascii", "only the table and --json"}},
      {{"--compare", "gpipe", "--svg", file("a")}, {"--compare or --svg"}},
      {{"--stages", "0"}, {"--stages of at least 1", "got 0"}},
      {{"--stages", "-2"}, {"--stages of at least 1", "got -2"}},
      {{"--stages", "2.5"}, {"stagecoach simulate: expected a whole number after --stages"}},
      {{"--stages", "1000000000"}, {"--stages of at most 65536", "got 1000000000"}},
      {{"--micro-batches", "0"}, {"--micro-batches of at least 1", "got 0"}},
      {{"--micro-batches", "1000000000"}, {"--micro-batches of at most 16777216"}},
      {{"--chunks", "0"}, {"--chunks of at least 1", "got 0"}},
      {{"--chunks", "2"}, {"1f1b schedule", "1 stage on each rank", "got 2"}},
      {{"--schedule", "zb-v", "--chunks", "3"}, {"2 stages on each rank", "got 3"}},
      {{"--replicas", "3,1"}, {"--replicas of 1, 2, 4, 8, ..., like 2 or 2,1", "'3,1'"}},
      {{"--replicas", "2,"}, {"a whole number after --replicas"}},
      {{"--replicas", "2,1", "--stages", "3"}, {"--replicas of 3 stages, or of all", "2 numbers"}},
      {{"--replicas", "65536,1"}, {"--replicas on at most 65536 ranks"}},
      {{"--replicas", "2,1", "--schedule", "zb-h1"}, {"naive, gpipe or 1f1b", "'zb-h1'"}},
      {{"--stages", "65536", "--micro-batches", "512"},
       {"at most 16777216 for K x M", "65536 x 512"}},
      {{"--schedule", "interleaved", "--stages", "4096", "--micro-batches", "4096", "--chunks",
        "2"},
       {"for K x M x V", "4096 x 4096 x 2"}},
      {{"--compare", "1f1b", "--stages", "65536", "--micro-batches", "512"}, {"for K x M"}},
      {{"--svg", file("a"), "--micro-batches", "2501"},
       {"at most 20000 boxes in --svg, got 20008", "--micro-batches 2500 would fit"}},
      {{"--trace", file("a"), "--stages", "1024", "--micro-batches", "500"},
       {"at most 1000000 events in --trace", "--micro-batches 162 would fit"}},
      {{"--svg", file("a"), "--trace", folder_.path() / "b" / ".." / "a"},
       {"different files for --svg and --trace"}},
      {{"--svg", ""}, {"a name after --svg"}},
      {{"--stagse", "3"}, {"'--stagse'", "did you mean '--stages'?"}},
      {{"extra"}, {"'extra'", "stagecoach simulate --help"}},
      {{"--costs", "f=1;b=2"}, {"a number after f=", "'1;b=2'"}},
      {{"--costs", "f=1,bb=2"},
       {"the keys f, b, w, last_w, r, bytes", "'bb'", "did you mean 'b'?"}},
      {{"--costs", "f=fast"}, {"a number after f=", "'fast'"}},
      {{"--costs", "f="}, {"a number after f=", "''"}},
      {{"--costs", "w=-1"}, {"w of at least 0", "-1"}},
      {{"--costs", "comm=nan"}, {"comm of at least 0", "nan"}},
      {{"--costs", "f=1,f=2"}, {"f once", "twice"}},
      {{"--costs", "f"}, {"f=1,b=1,w=1,comm=0, or a file", "'f'"}},
      {{"--costs", ""}, {"--costs with", "''"}}};
  for (const Wrong& wrong : cases) expect_failure(wrong.arguments, 2, wrong.parts);
  expect_error(run_program({"simulte"}), 2,
               {"train, simulate, inspect or info", "did you mean 'simulate'?"});
}

TEST_F(SimulateErrors, CostsThatAreNone) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"", {"JSON"}},
      {"{\"f\": 1", {"JSON"}},
      {"3", {"an object or an array", "number"}},
      {"[]", {"an object for each stage", "[]"}},
      {"[1]", {"an object for stage 0", "got 1"}},
      {R"([{"f": 1}, {"g": 2}])",
       {"the keys f, b, w, last_w, r, bytes, message, sum or hidden", "'g'"}},
      {R"([{"f": 1}, {"f": -2}])", {"f of stage 1 of at least 0", "-2"}},
      {R"([{"f": "1"}])", {"a number for f of stage 0", "\"1\""}},
      {R"({"f": true})", {"a number for f", "true"}},
      {R"({"x": 1})",
       {"the keys f, b, w, last_w, r, bytes, message, sum, hidden, comm, bandwidth or group",
        "'x'"}},
      {R"({"f": [1, 2], "b": [1]})", {"numbers", "one for each stage"}},
      {R"({"f": []})", {"numbers for f"}},
      {R"({"comm": [1, 2]})", {"one number for comm"}},
      {R"({"micro_batches": 0, "stages": []})", {"micro_batches of at least 1", "got 0"}},
      {R"({"micro_batches": 2, "stages": []})", {"stages of a report"}},
      {R"({"micro_batches": 2, "stages": [{"forward_seconds": 1}]})",
       {"backward_weight_seconds of stage 0", "none"}}};
  for (const auto& [content, parts] : cases) {
    SCOPED_TRACE(content);
    write_text(file("costs.json"), content);
    std::vector<std::string> all = parts;
    all.push_back(file("costs.json"));
    expect_failure({"--json", file("new.json"), "--costs", file("costs.json")}, 1, all);
  }
  expect_failure({"--costs", file("none.json")}, 1, {file("none.json"), "no such file"});
  expect_failure({"--costs", folder_.path()}, 1, {folder_.path(), "the folder"});
  write_text(file("costs.json"), R"({"f": [1, 2, 3]})");
  expect_failure({"--costs", file("costs.json"), "--stages", "2"}, 2,
                 {"costs of 2 stages", "those of 3", "costs.json", "--stages times --chunks"});
  expect_failure({"--costs", file("costs.json"), "--schedule", "zb-v"}, 2,
                 {"costs of 2 stages", "those of 3"});
}

// Actions of less than a millionth of the step, and times beyond all numbers.
TEST_F(SimulateErrors, ExtremeCostsAndLengths) {
  EXPECT_EQ(run_program({"simulate", "--ascii", "--costs", "comm=1e5"}).exit_code, 0);
  EXPECT_EQ(
      run_program({"simulate", "--ascii", "--stages", "1", "--micro-batches", "340000"}).exit_code,
      0);
  expect_failure({"--costs", "f=1e308,b=1e308"}, 1, {"costs whose sum is finite", "got inf"});
}

TEST_F(SimulateErrors, TablesThatAreNone) {
  expect_failure({"--schedule", file("none.txt")}, 1, {file("none.txt"), "no such file"});
  write_text(file("table.txt"), "0F0 0BW0\n\n1F0 1BX0\n");
  expect_failure({"--schedule", file("table.txt")}, 1, {"table.txt", "1BX0"});
  write_text(file("table.txt"), "0F0 0BW0\n\n1BW0 1F0\n");
  expect_failure({"--schedule", file("table.txt"), "--json", file("new.json")}, 1,
                 {"1F0 before 1BW0", "line 3, rank 1"});
  write_text(file("table.txt"), "0F0 0BW0\n1F0 1BW0\n");
  expect_failure({"--schedule", file("table.txt"), "--stages", "4"}, 2,
                 {"--stages 2, as in table.txt", "got 4", "leave it out"});
  expect_failure({"--schedule", file("table.txt"), "--micro-batches", "8"}, 2,
                 {"--micro-batches 1, as in table.txt"});
  expect_failure({"--schedule", file("table.txt"), "--chunks", "2"}, 2, {"--chunks 1, as in"});
}

TEST_F(SimulateErrors, PlacesThatCannotBeWritten) {
  write_text(file("old.svg"), "old");
  for (const char* option : {"--svg", "--trace", "--csv", "--text", "--json"}) {
    expect_failure({"--svg", file("old.svg"), option, file("none/a")}, option[2] == 's' ? 2 : 1,
                   {option[2] == 's' ? "--svg with one value" : file("none/a")});
    expect_failure({option, folder_.path()}, 1, {folder_.path()});
  }
  expect_failure({"--schedule", "forward-only", "--csv", file("new.csv")}, 1, {"to_csv", "trains"});
  EXPECT_EQ(content_of(file("old.svg")), "old");
}

TEST_F(SimulateErrors, SizesBeyondAllMemoryAreRefusedAtOnce) {
  expect_failure({"--stages", "2147483647", "--micro-batches", "2147483647"}, 2, {"--stages"});
  expect_failure({"--stages", "9999999999"}, 2, {"a smaller number after --stages"});
  expect_failure({"--schedule", "interleaved", "--chunks", "16777216", "--stages", "65536",
                  "--micro-batches", "16777216"},
                 2, {"for K x M x V"});
}

}  // namespace
}  // namespace stagecoach
