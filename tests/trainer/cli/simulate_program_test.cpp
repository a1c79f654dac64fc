// `stagecoach simulate`, started as a user does: its numbers against closed forms, and its files.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/trainer/program_run.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::content_of;
using testing::expect_has;
using testing::expect_lacks;
using testing::ProgramResult;
using testing::run_program;
using testing::ScratchFolder;
using testing::write_text;

int count_of(const std::string& text, const std::string& part) {
  int count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

class Simulate : public ::testing::Test {
 protected:
  std::string file(const std::string& name) const { return folder_.path() / name; }

  // What it prints; it must succeed.
  static std::string simulate(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "simulate");
    const ProgramResult result = run_program(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return result.out;
  }
  json numbers(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"--json", file("numbers.json")});
    simulate(arguments);
    return json::parse(content_of(file("numbers.json")));
  }
  static std::vector<int> peaks(const json& run) {
    std::vector<int> slots;
    for (const json& rank : run.at("ranks")) slots.push_back(rank.at("peak_slots"));
    return slots;
  }

  const ScratchFolder folder_;
};

TEST_F(Simulate, HelpTeaches) {
  const std::string help = simulate({"--help"});
  for (const char* part :
       {"--compare", "--costs", "--ascii", "Examples:", "makespan", "longest span", "by span",
        "1/V", "bandwidth", "[1f1b]", "[f=1,b=1,w=1,comm=0]"}) {
    expect_has(help, part);
  }
  expect_has(run_program({"--help"}).out, "stagecoach simulate");
}

TEST_F(Simulate, DefaultsAre1F1BOnFourRanks) {
  const std::string text = simulate({});
  for (const char* part :
       {"1f1b, K = 4, M = 8, costs f=1,b=1,w=1,comm=0\n",
        "makespan 33, bubble 27.3 %, formula (K-1)/(M+K-1) = 27.3 %\n",
        "     0  0                       24           9   27.3 %           4\n",
        "     3  3                       24           9   27.3 %           1\n"}) {
    expect_has(text, part);
  }
  expect_lacks(text, "bytes");

  const json run = numbers({});
  EXPECT_EQ(run["schedule"], "1f1b");
  EXPECT_EQ(run["stages"], 4);
  EXPECT_EQ(run["chunks"], 1);
  EXPECT_EQ(run["micro_batches"], 8);
  EXPECT_EQ(run["makespan"], 33);
  EXPECT_EQ(run["longest_span"], 33);
  EXPECT_DOUBLE_EQ(run["bubble"], 3.0 / 11);
  EXPECT_DOUBLE_EQ(run["formula"], 3.0 / 11);
  EXPECT_EQ(run["imbalance"], 0);
  EXPECT_TRUE(run["unit"].is_null());
  EXPECT_EQ(run["costs"],
            json::parse(R"({"f": 1, "b": 1, "w": 1, "last_w": 1, "r": 1, "bytes": 1, "message": 0,
                            "sum": 0, "hidden": 0, "comm": 0, "bandwidth": 0, "group": 0})"));
  EXPECT_EQ(peaks(run), (std::vector<int>{4, 3, 2, 1}));
  ASSERT_EQ(run["ranks"].size(), 4u);
  EXPECT_EQ(run["ranks"][2]["rank"], 2);
  EXPECT_EQ(run["ranks"][2]["stages"], json::array({2}));
  EXPECT_EQ(run["ranks"][2]["busy"], 24);
  EXPECT_EQ(run["ranks"][2]["idle"], 9);
  EXPECT_DOUBLE_EQ(run["ranks"][2]["bubble"], 3.0 / 11);
  EXPECT_EQ(run["ranks"][2]["peak_bytes"], 2);
}

TEST_F(Simulate, ClosedForms) {
  struct Case {
    const char* schedule;
    double makespan, bubble, span;
    std::vector<int> peaks;
  };
  // K = 4, M = 8; costs of a chunk are 1.
  const std::vector<Case> cases = {{"naive", 96, 3.0 / 4, 96, {1, 1, 1, 1}},
                                   {"gpipe", 33, 3.0 / 11, 33, {8, 8, 8, 8}},
                                   {"interleaved", 57, 3.0 / 19, 57, {11, 9, 7, 5}},
                                   {"zb-v", 51, 3.0 / 51, 48, {8, 8, 8, 8}},
                                   {"forward-only", 11, 3.0 / 11, 8, {1, 1, 1, 1}}};
  for (const Case& one : cases) {
    SCOPED_TRACE(one.schedule);
    const json run = numbers({"--schedule", one.schedule, "--stages", "4", "--micro-batches", "8"});
    EXPECT_EQ(run["makespan"], one.makespan);
    EXPECT_DOUBLE_EQ(run["bubble"], one.bubble);
    EXPECT_DOUBLE_EQ(run["formula"], one.bubble);
    EXPECT_EQ(run["longest_span"], one.span);
    EXPECT_EQ(peaks(run), one.peaks);
  }
  EXPECT_EQ(numbers({"--schedule", "interleaved", "--chunks", "3"})["chunks"], 3);
}

TEST_F(Simulate, CostsOfTheCommandLine) {
  // GPipe: M F on the first rank, one on each later one; then the same of B + W.
  const json run = numbers({"-p", "3", "--micro-batches", "2", "--schedule", "gpipe", "--costs",
                            "f=2,b=3,w=0.5,comm=0.25,bytes=10"});
  EXPECT_DOUBLE_EQ(run["makespan"], (2 + 2) * 2 + (2 + 2) * 3.5 + 4 * 0.25);
  EXPECT_EQ(run["ranks"][0]["peak_bytes"], 20);
  EXPECT_EQ(run["costs"]["comm"], 0.25);
  // Messages of 6 bytes at 4 bytes per unit of time.
  const json slow =
      numbers({"--stages", "2", "--micro-batches", "1", "--costs", "message=6,bandwidth=4,comm=1"});
  EXPECT_DOUBLE_EQ(slow["makespan"], 6 + 2 * 2.5);
  expect_has(simulate({"--costs", "bytes=10"}), "peak bytes");
}

TEST_F(Simulate, CostsOfAFile) {
  const std::vector<std::string> forms = {
      R"({"f": [1, 3], "b": [2, 4], "w": 1})", R"([{"f": 1, "b": 2, "w": 1}, {"f": 3, "b": 4}])",
      R"({"stages": [{"f": 1, "b": 2}, {"f": 3, "b": 4}], "comm": 0})",
      // Seconds per step of four micro-batches there, milliseconds of one here.
      R"({"micro_batches": 4, "schedule": "1f1b", "stages": [
          {"forward_seconds": 0.004, "backward_input_seconds": 0.008,
           "backward_weight_seconds": 0.004, "parameters": 7},
          {"forward_seconds": 0.012, "backward_input_seconds": 0.016,
           "backward_weight_seconds": 0.004, "parameters": 8}]})"};
  for (const std::string& form : forms) {
    SCOPED_TRACE(form);
    write_text(file("costs.json"), form);
    // K from the costs.
    const json run =
        numbers({"--schedule", "gpipe", "--costs", file("costs.json"), "--micro-batches", "4"});
    EXPECT_EQ(run["stages"], 2);
    EXPECT_EQ(run["micro_batches"], 4);
    EXPECT_DOUBLE_EQ(run["makespan"], 1 + 4 * 3 + 4 * 5 + 3);  // the second stage never waits
    EXPECT_DOUBLE_EQ(run["imbalance"], 1 - (4.0 + 8) / 2 / 8);
    EXPECT_DOUBLE_EQ(run["ranks"][0]["busy"], 16);
  }
  // Of the report also M, and a unit.
  const std::string text = simulate({"--costs", file("costs.json")});
  expect_has(text, "K = 2, M = 4");
  expect_has(text, " ms");
  EXPECT_EQ(numbers({"--costs", file("costs.json")})["unit"], "ms");
  EXPECT_EQ(numbers({"--costs", file("costs.json"), "--micro-batches", "6"})["micro_batches"], 6);
  // A report says what of W was put off until the last one: 4 of 4 + 3 * 0.
  write_text(file("costs.json"), R"({"micro_batches": 4, "stages": [
      {"forward_seconds": 0.004, "backward_input_seconds": 0.004, "backward_weight_seconds": 0.004,
       "last_weight_seconds": 0.004}]})");
  EXPECT_DOUBLE_EQ(numbers({"--costs", file("costs.json")})["costs"]["last_w"], 4);
  EXPECT_DOUBLE_EQ(numbers({"--costs", file("costs.json")})["costs"]["w"], 0);
  EXPECT_DOUBLE_EQ(numbers({"--costs", file("costs.json")})["makespan"], 12);
  // Of two replicas in processes, with four groups: a group is two micro-batches, and the W of each
  // group's last takes 3 of 2 * (1 + 3). Messages of 2 MB take 1 ms, and 0.5 ms; the sum takes 6.
  write_text(file("costs.json"), R"({"micro_batches": 4, "replicas": 2, "gradient_groups": 4,
      "transport": {"latency_seconds": 0.0005, "bytes_per_second": 2e9},
      "stages": [
        {"forward_seconds": 0.004, "backward_input_seconds": 0, "backward_weight_seconds": 0.008,
         "last_weight_seconds": 0.003, "reduce_seconds": 0.006, "message_bytes": 2e6},
        {"forward_seconds": 0.004, "backward_input_seconds": 0, "backward_weight_seconds": 0.008,
         "last_weight_seconds": 0.003, "reduce_seconds": 0.006, "message_bytes": 9e9}]})");
  const json run = numbers({"--costs", file("costs.json"), "--schedule", "gpipe"});
  EXPECT_EQ(run["costs"], json::parse(R"({"f": 1, "b": 0, "w": 1, "last_w": 3, "r": 1, "bytes": 1,
      "message": [2e6, 9e9], "sum": 6, "hidden": 0, "comm": 0.5, "bandwidth": 2e6, "group": 2})"));
  // F, its message, F; then BW1 BW3 BW1 BW3 there, whose last gradient takes 1.5, and the last BW
  // and the sum here: all others are done by then.
  EXPECT_DOUBLE_EQ(run["makespan"], 1 + 1.5 + 4 + 8 + 1.5 + 3 + 6);
  EXPECT_EQ(run["ranks"][0]["busy"], 12);
  // Where 4 of the sum ran beside the last W, a step ends 2 behind that.
  std::string overlapped = content_of(file("costs.json"));
  for (std::size_t at = 0; (at = overlapped.find("\"message_bytes\"", at)) != std::string::npos;) {
    const std::string more = "\"reduce_beside_weight_seconds\": 0.004, ";
    overlapped.insert(at, more);
    at += more.size() + 1;
  }
  write_text(file("costs.json"), overlapped);
  const json hidden = numbers({"--costs", file("costs.json"), "--schedule", "gpipe"});
  EXPECT_EQ(hidden["costs"]["hidden"], 4);
  EXPECT_DOUBLE_EQ(hidden["makespan"], 1 + 1.5 + 4 + 8 + 1.5 + 3 + 2);
  write_text(file("costs.json"), forms.back());
  // Two stages are one rank of two chunks.
  EXPECT_EQ(numbers({"--costs", file("costs.json"), "--schedule", "zb-v"})["stages"], 1);
}

TEST_F(Simulate, ImbalanceIsNamed) {
  write_text(file("costs.json"), R"({"f": [1, 3]})");
  const std::string text = simulate({"--costs", file("costs.json"), "--micro-batches", "8"});
  // 43 long, of which 40 is the work of the second rank and 24 of the first.
  expect_has(text, "makespan 43, bubble 25.6 %");
  expect_has(text, "   7.0 %  schedule");
  expect_has(text, "  18.6 %  imbalance");
}

TEST_F(Simulate, ComparesSideBySide) {
  const std::string text =
      simulate({"--compare", "gpipe,1f1b,interleaved,zb-v,dualpipe-v", "--micro-batches", "6"});
  for (const char* part :
       {"K = 4, M = 6", "1/V of them", "gpipe           1", "interleaved     2",
        "zb-v            2",
        "dualpipe-v      dualpipe-v schedule: expected at least 8 micro-batches"}) {
    expect_has(text, part);
  }
  const json all = numbers({"--compare", "gpipe,interleaved,zb-v"});
  EXPECT_EQ(all["stages"], 4);
  EXPECT_EQ(all["micro_batches"], 8);
  ASSERT_EQ(all["schedules"].size(), 3u);
  EXPECT_EQ(all["schedules"][0]["makespan"], 33);
  EXPECT_EQ(all["schedules"][0]["chunks"], 1);
  EXPECT_EQ(all["schedules"][1]["makespan"], 28.5);  // a chunk costs half
  EXPECT_EQ(all["schedules"][1]["costs"]["f"], 0.5);
  EXPECT_EQ(all["schedules"][2]["makespan"], 25.5);
  EXPECT_EQ(all["schedules"][2]["ranks"][0]["peak_bytes"], 4);
  const json more = numbers({"--compare", "1f1b,interleaved", "--chunks", "4"});
  EXPECT_EQ(more["schedules"][0]["chunks"], 1);
  EXPECT_EQ(more["schedules"][1]["chunks"], 4);
}

TEST_F(Simulate, ComparedSchedulesThatCannotBeSayWhy) {
  write_text(file("costs.json"), R"({"f": [1, 1]})");
  write_text(file("table.txt"), "0F0 0BW0\n");
  const std::vector<std::string> arguments = {"--compare", "1f1b,zb-v," + file("table.txt"),
                                              "--costs", file("costs.json")};
  const json all = numbers(arguments);
  EXPECT_EQ(all["schedules"][0]["stages"], 2);
  EXPECT_EQ(all["schedules"][1]["schedule"], "zb-v");
  expect_has(all["schedules"][1]["error"], "costs of 4 stages, got those of 2");
  expect_has(all["schedules"][2]["error"], "--stages 1, as in table.txt");
  expect_has(simulate(arguments), "costs of 4 stages, got those of 2");
}

TEST_F(Simulate, AsciiDrawing) {
  const std::string text =
      simulate({"--stages", "3", "--micro-batches", "4", "--costs", "f=1,b=1,w=1", "--ascii"});
  expect_has(text,
             "\nrank 0  F0 F1 F2 .  .  .  .  BW0-- F3 BW1-- .  BW2-- .  BW3--\n"
             "rank 1  .  F0 F1 .  .  BW0-- F2 BW1-- F3 BW2-- .  BW3-- .  .\n"
             "rank 2  .  .  F0 BW0-- F1 BW1-- F2 BW2-- F3 BW3-- .  .  .  .\n"
             "a column is 1 of time\n");
  const std::string large = simulate({"--stages", "100", "--micro-batches", "300", "--ascii"});
  expect_has(large, "only the beginning is shown");
  expect_has(large, "the first 64 ranks");
  EXPECT_LT(large.size(), 30'000u);
}

// The checks of draw_test say more.
TEST_F(Simulate, PictureHasABoxForEveryAction) {
  simulate({"--schedule", "zb-v", "--svg", file("zb.svg")});
  const std::string svg = content_of(file("zb.svg"));
  EXPECT_EQ(svg.rfind("<svg", 0), 0u);
  EXPECT_EQ(svg.substr(svg.size() - 7), "</svg>\n");
  EXPECT_EQ(count_of(svg, ">"), count_of(svg, "<"));
  EXPECT_EQ(count_of(svg, "<") - count_of(svg, "</"), count_of(svg, "</") + count_of(svg, "/>"));
  for (const char* kind : {"F", "B", "W"}) {
    EXPECT_EQ(count_of(svg, std::string("<rect class=\"") + kind + "\""), 4 * 8) << kind;
    EXPECT_EQ(count_of(svg, std::string("<rect class=\"") + kind + " c1\""), 4 * 8) << kind;
    EXPECT_EQ(count_of(svg, std::string("<text class=\"n") + kind + "\""), 4 * 8) << kind;
  }
  expect_has(svg, "zb-v: bubble 5.9 %");
  expect_has(svg, ">time</text>");
  EXPECT_EQ(testing::files_in(folder_.path()).size(), 1u);
}

TEST_F(Simulate, TraceWithSlotsOverTime) {
  simulate({"--trace", file("trace.json")});
  const json trace = json::parse(content_of(file("trace.json")));
  std::map<std::string, int> events;
  std::map<std::string, double> peak;
  double end = 0;
  for (const json& event : trace["traceEvents"]) {
    if (event["ph"] == "X") {
      ++events[event["cat"]];
      end = std::max(end, event["ts"].get<double>() + event["dur"].get<double>());
    }
    if (event["ph"] == "C") {
      double& most = peak[event["name"]];
      most = std::max(most, event["args"]["slots"].get<double>());
    }
  }
  EXPECT_EQ(events, (std::map<std::string, int>{{"F", 32}, {"BW", 32}}));
  EXPECT_EQ(end, 33'000);  // microseconds
  EXPECT_EQ(
      peak,
      (std::map<std::string, double>{
          {"slots, rank 0", 4}, {"slots, rank 1", 3}, {"slots, rank 2", 2}, {"slots, rank 3", 1}}));
}

TEST_F(Simulate, TablesAsFilesAreReadAgain) {
  const json first =
      numbers({"--schedule", "zb-h1", "--text", file("table.txt"), "--csv", file("table.csv")});
  expect_has(content_of(file("table.txt")), "0F0 0F1");
  expect_has(content_of(file("table.csv")), "0F0,0F1");
  for (const char* name : {"table.txt", "table.csv"}) {
    SCOPED_TRACE(name);
    const json again = numbers({"--schedule", file(name)});
    EXPECT_EQ(again["schedule"], name);
    EXPECT_EQ(again["makespan"], first["makespan"]);
    EXPECT_EQ(again["ranks"], first["ranks"]);
    EXPECT_TRUE(again["formula"].is_null());
  }
  simulate(
      {"--schedule", file("table.txt"), "--stages", "4", "--micro-batches", "8", "--chunks", "1"});
  simulate({"--compare", "1f1b," + file("table.txt")});
}

TEST_F(Simulate, RecomputationOfAFile) {
  write_text(file("table.txt"), "rank 0: 0F0 0F1 0R0 0BW0 0R1 0BW1\n");
  const json run = numbers({"--schedule", file("table.txt")});
  EXPECT_EQ(run["makespan"], 8);
  EXPECT_EQ(peaks(run), std::vector<int>{1});
  EXPECT_EQ(numbers({"--schedule", file("table.txt"), "--costs", "r=0.5"})["makespan"], 7);
  expect_has(simulate({"--schedule", file("table.txt"), "--ascii"}),
             "rank 0  F0 F1 R0 BW0-- R1 BW1--\n");
}

TEST_F(Simulate, RecomputationOfANamedSchedule) {
  const json never = numbers({"--schedule", "gpipe"});
  const json always = numbers({"--schedule", "gpipe", "--recompute", "always"});
  EXPECT_EQ(peaks(never), (std::vector<int>{8, 8, 8, 8}));
  EXPECT_EQ(peaks(always), (std::vector<int>{1, 1, 1, 1}));
  EXPECT_EQ(peaks(numbers({"--schedule", "gpipe", "--recompute", "except_last"})),
            (std::vector<int>{2, 2, 2, 2}));
  // An F more for every micro-batch; the first ones are ready before the gradients come.
  EXPECT_EQ(never["makespan"], 33);
  EXPECT_EQ(always["makespan"], 33 + 8);
}

TEST_F(Simulate, MessagesDelayAsTheFormulaSays) {
  // GPipe fills and drains over K - 1 messages each.
  const json run = numbers({"--schedule", "gpipe", "--stages", "3", "--micro-batches", "5",
                            "--costs", "f=2,b=3,w=0.5,comm=0.25"});
  EXPECT_EQ(run["makespan"], (5 + 2) * 5.5 + 4 * 0.25);
}

TEST_F(Simulate, StagesWithReplicasOfTheirOwn) {
  write_text(file("costs.json"), R"({"f": [2, 1], "b": [2, 1], "w": [2, 1]})");
  const std::vector<std::string> table = {"--replicas", "2,1",     "--micro-batches",
                                          "4",          "--costs", file("costs.json")};
  std::vector<std::string> drawn = table;
  drawn.insert(drawn.end(), {"--ascii", "--text", file("table.txt"), "--svg", file("a.svg"),
                             "--trace", file("a.json")});
  const std::string text = simulate(drawn);
  expect_has(text, "1f1b, K = 2, replicas 2,1 on 3 ranks, M = 2 x 4, costs ");
  expect_has(text, "rank 2  .  .  F0 BW0-- F4 BW4-- F1 BW1--");
  expect_lacks(text, "formula");
  const json run = numbers(table);
  EXPECT_EQ(run["stages"], 2);
  EXPECT_EQ(run["replicas"], (json{2, 1}));
  EXPECT_EQ(run["micro_batches"], 8);
  EXPECT_EQ(run["ranks"].size(), 3u);
  EXPECT_EQ(run["imbalance"], 0);
  // The same from the file, which says all of it itself.
  const json read = numbers({"--schedule", file("table.txt"), "--costs", file("costs.json"),
                             "--stages", "2", "--micro-batches", "4"});
  EXPECT_EQ(read["makespan"], run["makespan"]);
  EXPECT_EQ(read["replicas"], run["replicas"]);
  // One number is that of all stages, which then are the table of one, twice.
  EXPECT_EQ(numbers({"--replicas", "2"})["makespan"], numbers({})["makespan"]);
  EXPECT_EQ(numbers({"--replicas", "2"})["bubble"], numbers({})["bubble"]);
  expect_has(simulate({"--compare", "1f1b,zb-h1", "--replicas", "4,1"}),
             "zb-h1           schedule: expected naive, gpipe or 1f1b");
}

TEST_F(Simulate, FilesOfPyTorchWithNotes) {
  const std::string folder = std::string(STAGECOACH_TEST_DATA) + "/schedules/";
  const std::string text = simulate({"--schedule", folder + "interleaved_zb_k4_v2_m8_comms.csv"});
  expect_has(text, "note: 8 UNSHARD and 8 RESHARD do nothing here: weights are not sharded\n");
  expect_lacks(text, "refuses");
  const std::string looped = simulate({"--schedule", folder + "looped_bfs_k2_v2_m4.csv"});
  expect_has(looped, "note: train refuses this table, as it adds gradients in another order");
}

TEST_F(Simulate, LargeTables) {
  const std::string text = simulate({"--stages", "256", "--micro-batches", "1024"});
  expect_has(text, "makespan 3837, ");
  expect_has(text, "   ...\n");  // not all ranks
  EXPECT_LT(text.size(), 4'000u);
}

}  // namespace
}  // namespace stagecoach
