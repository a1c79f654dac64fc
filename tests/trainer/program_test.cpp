// The program, started as a newcomer would: what it prints and writes when all is well.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "core/safetensors.h"
#include "tests/trainer/program_run.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::content_of;
using testing::expect_error;
using testing::expect_has;
using testing::expect_lacks;
using testing::Options;
using testing::ProgramResult;
using testing::run_program;
using testing::run_train;
using testing::ScratchFolder;

void expect_success(const ProgramResult& result) {
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

class Program : public ::testing::Test {
 protected:
  std::string file(const std::string& name) const { return folder_.path() / name; }
  json read_json(const std::string& name) const { return json::parse(content_of(file(name))); }

  const ScratchFolder folder_;
};

TEST_F(Program, WithoutACommandSaysWhatThereIs) {
  expect_error(run_program({}), 2, {"train", "info", "--help"});
}

TEST_F(Program, HelpTeaches) {
  for (const char* option : {"--help", "-h"}) {
    const ProgramResult result = run_program({option});
    expect_success(result);
    EXPECT_EQ(result.err, "");
    for (const char* part : {"train", "info", "stagecoach train --help"}) {
      expect_has(result.out, part);
    }
  }
  const ProgramResult train = run_program({"train", "--help"});
  expect_success(train);
  EXPECT_EQ(train.err, "");
  for (const char* part :
       {"--stages", "--schedule", "--micro-batches", "--partition", "--data", "--save", "--init",
        "--report", "--trace", "Examples:", "by the schedule's formula", "[1138]"}) {
    expect_has(train.out, part);
  }
}

TEST_F(Program, VersionAndInfo) {
  EXPECT_EQ(run_program({"--version"}).out, "stagecoach " STAGECOACH_VERSION "\n");
  const ProgramResult info = run_program({"info"});
  expect_success(info);
  EXPECT_EQ(info.err, "");
  for (const char* part :
       {"stagecoach", STAGECOACH_VERSION, "cpu:", "cores", "GiB of memory free",
        "GFLOP/s on one core", "alexnet",
        "naive, gpipe, 1f1b, interleaved, zb-h1, zb-v or dualpipe-v", "sgd, adam"}) {
    expect_has(info.out, part);
  }
}

void expect_keys(const json& object, const std::vector<std::string>& keys) {
  for (const std::string& key : keys) EXPECT_TRUE(object.contains(key)) << key << " in " << object;
}

void expect_report_of_two_stages(const json& report) {
  expect_keys(report, {"images_per_second", "step_seconds_median", "loss_first", "loss_last",
                       "accuracy", "data", "bubble", "stages", "memory"});
  EXPECT_GT(report["images_per_second"], 0);
  EXPECT_GT(report["step_seconds_median"], 0);
  EXPECT_EQ(report["data"], "synthetic (drawn from seed 1138)");
  EXPECT_EQ(report["test_samples"], 9);
  EXPECT_GE(report["accuracy"], 0);
  EXPECT_LE(report["accuracy"], 1);
  expect_keys(report["bubble"], {"measured", "predicted", "formula", "imbalance"});
  EXPECT_DOUBLE_EQ(report["bubble"]["formula"], 1.0 / 3);
  EXPECT_GT(report["bubble"]["measured"], 0);
  EXPECT_LT(report["bubble"]["measured"], 1);
  ASSERT_EQ(report["stages"].size(), 2u);
  ASSERT_EQ(report["memory"].size(), 2u);
  std::int64_t next_layer = 0, parameters = 0;
  for (const json& stage : report["stages"]) {
    EXPECT_EQ(stage["first_layer"], next_layer);
    next_layer = stage["last_layer"].get<std::int64_t>() + 1;
    parameters += stage["parameters"].get<std::int64_t>();
    for (const char* key :
         {"forward_seconds", "backward_input_seconds", "backward_weight_seconds"}) {
      EXPECT_GT(stage[key], 0) << key;
    }
    EXPECT_GE(stage["wait_seconds"], 0);
  }
  EXPECT_EQ(next_layer, 22);
  EXPECT_EQ(parameters, 57044810);
  for (const json& memory : report["memory"]) {
    EXPECT_GT(memory["planned_bytes"], 0);
    EXPECT_EQ(memory["planned_bytes"], memory["peak_bytes"]);
  }
}

// One object a line, one line a step.
void expect_metrics(const std::string& file, int steps, const json& report) {
  std::istringstream lines(content_of(file));
  int step = 0;
  for (std::string line; std::getline(lines, line);) {
    const json metrics = json::parse(line);
    EXPECT_EQ(metrics["step"], ++step);
    expect_keys(metrics, {"loss", "accuracy", "images_per_second"});
    const json& loss = step == 1 ? report["loss_first"] : report["loss_last"];
    if (step == 1 || step == steps) {
      EXPECT_EQ(metrics["loss"], loss);
    }
    EXPECT_EQ(metrics.contains("test_accuracy"), step == steps);
  }
  EXPECT_EQ(step, steps);
}

// A row for each stage, with every F, B, W, send, receive and wait of 2 stages and 2 micro-batches.
void expect_trace(const json& trace, int steps) {
  std::map<std::pair<int, std::string>, int> counts;
  std::set<std::string> rows;
  for (const json& event : trace["traceEvents"]) {
    if (event["name"] == "thread_name") rows.insert(event["args"]["name"].get<std::string>());
    if (event["ph"] != "X") continue;
    EXPECT_GE(event["dur"], 0);
    ++counts[{event["tid"].get<int>(), event["cat"].get<std::string>()}];
  }
  EXPECT_EQ(rows, (std::set<std::string>{"rank 0: stage 0", "rank 1: stage 1"}));
  for (const int stage : {0, 1}) {
    for (const char* kind : {"F", "B", "W", "send", "receive"}) {
      EXPECT_EQ((counts[{stage, kind}]), 2 * steps) << kind << " of stage " << stage;
    }
    EXPECT_GT((counts[{stage, "wait"}]), 0) << stage;
    EXPECT_EQ((counts[{stage, "optimizer"}]), steps) << stage;
  }
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// Every element is closed, and both timelines are there.
void expect_svg(const std::string& svg) {
  EXPECT_EQ(svg.rfind("<svg", 0), 0u) << svg.substr(0, 100);
  EXPECT_EQ(svg.substr(svg.size() - 7), "</svg>\n");
  const std::size_t closing = count_of(svg, "</"), empty = count_of(svg, "/>");
  EXPECT_EQ(count_of(svg, "<") - closing, closing + empty);
  EXPECT_EQ(count_of(svg, ">"), count_of(svg, "<"));
  expect_has(svg, "measured, step ");
  expect_has(svg, "predicted from the measured costs");
  EXPECT_LT(svg.find("predicted from"), svg.find("measured, step "));  // above it
  EXPECT_GE(count_of(svg, "<rect"), 2 * 2 * 2 * 3u);  // two timelines of two stages
}

void expect_weights(const std::string& file) {
  const SafetensorsFile weights(file);
  EXPECT_EQ(weights.names().size(), 16u);
  EXPECT_EQ(weights.spec("features.0.weight").shape, (Shape{64, 3, 11, 11}));
  EXPECT_EQ(weights.spec("classifier.6.bias").shape, (Shape{10}));
}

TEST_F(Program, AShortRunPrintsAndWritesEverything) {
  const ProgramResult result = run_train({{"--stages", "2"},
                                          {"--steps", "3"},
                                          {"--eval-every", "3"},
                                          {"--partition", "time"},
                                          {"--quiet", "no"},
                                          {"--report", file("report.json")},
                                          {"--metrics", file("metrics.jsonl")},
                                          {"--trace", file("trace.json")},
                                          {"--svg", file("timeline.svg")},
                                          {"--save", file("weights.safetensors")}});
  expect_success(result);
  expect_has(result.err, "measuring the time of each layer");
  expect_has(result.err, "step 1/3  loss");
  expect_has(result.err, "step 3/3  loss");
  expect_lacks(result.err, "error");
  for (const char* part :
       {"alexnet on synthetic (drawn from seed 1138), 64 x 64, on cpu",
        "1f1b, K = 2, M = 2, B = 2: 4 images a step, 1 thread a stage", "images/s, median step",
        "3 steps in", "accuracy ", "on 9 test images", "57,044,810 parameters", "bubble: measured ",
        "(K-1)/(M+K-1) = 33.3 %", "memory of stage 1: planned ", ": equal"}) {
    expect_has(result.out, part);
  }
  const json report = read_json("report.json");
  expect_report_of_two_stages(report);
  expect_metrics(file("metrics.jsonl"), 3, report);
  expect_trace(read_json("trace.json"), 3);
  expect_svg(content_of(file("timeline.svg")));
  expect_weights(file("weights.safetensors"));
  EXPECT_EQ(testing::files_in(folder_.path()).size(), 5u);
}

TEST_F(Program, ThePlainLoopSavesTheSameBytesAndHasNoBubble) {
  const ProgramResult split = run_train(
      {{"--stages", "3"}, {"--schedule", "gpipe"}, {"--save", file("split.safetensors")}});
  const ProgramResult plain = run_train({{"--stages", "0"},
                                         {"--threads", "2"},
                                         {"--save", file("plain.safetensors")},
                                         {"--trace", file("trace.json")},
                                         {"--svg", file("timeline.svg")},
                                         {"--report", file("report.json")}});
  expect_success(split);
  expect_success(plain);
  EXPECT_EQ(split.err, "");
  EXPECT_EQ(plain.err, "");
  expect_has(split.out, "gpipe, K = 3");
  expect_has(plain.out, "plain loop without a pipeline");
  expect_lacks(plain.out, "bubble");
  EXPECT_TRUE(content_of(file("split.safetensors")) == content_of(file("plain.safetensors")));
  const json report = read_json("report.json");
  EXPECT_TRUE(report["bubble"].is_null());
  EXPECT_TRUE(report["accuracy"].is_null());
  EXPECT_EQ(report["stages"].size(), 1u);
  EXPECT_FALSE(read_json("trace.json")["traceEvents"].empty());
  expect_lacks(content_of(file("timeline.svg")), "predicted");
}

// A table of the user's own, PyTorch's, and F run again: the bytes of the plain loop.
TEST_F(Program, TablesOfFilesTrain) {
  testing::write_text(file("mine.txt"),
                      "# two stages on each of two ranks, W as late as can be\n"
                      "rank 0: 0F0 3F0 0F1 3F1 3B0 3B1 0B0 0B1 0W0 0W1 3W0 3W1\n"
                      "rank 1: 1F0 2F0 1F1 2F1 2B0 1B0 2B1 1B1 2W0 2W1 1W0 1W1\n");
  expect_success(run_train({{"--stages", "0"}, {"--save", file("plain.safetensors")}}));
  const std::string plain = content_of(file("plain.safetensors"));
  const ProgramResult mine = run_train({{"--schedule", file("mine.txt")},
                                        {"--stages", "2"},
                                        {"--partition", "2,8,16"},
                                        {"--recompute", "always"},
                                        {"--report", file("report.json")},
                                        {"--save", file("mine.safetensors")}});
  expect_success(mine);
  expect_has(mine.out, "mine.txt, K = 2, V = 2, M = 2, B = 2");
  expect_has(mine.out, "W apart from B: with W at once after its B the makespan would be ");
  expect_has(mine.out, "recompute always: ");
  EXPECT_TRUE(content_of(file("mine.safetensors")) == plain);
  const json report = read_json("report.json");
  EXPECT_EQ(report["chunks"], 2);
  EXPECT_EQ(report["recompute"], "always");
  EXPECT_TRUE(report["bubble"]["formula"].is_null());
  EXPECT_GT(report["bubble"]["joint_makespan_seconds"], 0);
  ASSERT_EQ(report["stages"].size(), 4u);
  EXPECT_EQ(report["stages"][3]["rank"], 0);
  EXPECT_GT(report["stages"][3]["recompute_seconds"], 0);
  EXPECT_EQ(report["planned_bytes_without_recompute"].size(), 4u);
}

TEST_F(Program, FilesOfPyTorchTrain) {
  const std::string table =
      std::string(STAGECOACH_TEST_DATA) + "/schedules/zb_v_k2_v2_m4_comms.csv";
  const ProgramResult result = run_train({{"--schedule", table},
                                          {"--stages", "2"},
                                          {"--micro-batches", "4"},
                                          {"--quiet", "no"},
                                          {"--save", file("zb-v.safetensors")}});
  expect_success(result);
  expect_has(result.err, "4 UNSHARD and 4 RESHARD do nothing here");
  expect_success(run_train(
      {{"--stages", "0"}, {"--micro-batches", "4"}, {"--save", file("plain.safetensors")}}));
  EXPECT_TRUE(content_of(file("zb-v.safetensors")) == content_of(file("plain.safetensors")));
}

TEST_F(Program, InitialWeightsAndEpochs) {
  expect_success(run_train({{"--save", file("a.safetensors")}}));
  // 40 images in batches of 4 are 10 steps, 12 images 3.
  const ProgramResult result = run_train({{"--steps", "no"},
                                          {"--epochs", "1"},
                                          {"--max-train-samples", "12"},
                                          {"--init", file("a.safetensors")},
                                          {"--save", file("a.safetensors")},
                                          {"--report", file("b.json")}});
  expect_success(result);
  expect_has(result.out, "3 steps in");
  expect_success(run_train({{"--max-train-samples", "12"}, {"--report", file("c.json")}}));
  EXPECT_NE(read_json("b.json")["loss_first"], read_json("c.json")["loss_first"]);
}

TEST_F(Program, WithoutANetworkItSaysSoAndTrainsOnSyntheticImages) {
  const ProgramResult result = run_train({{"--data", "auto"}, {"--report", file("report.json")}});
  expect_success(result);
  EXPECT_EQ(result.err.rfind("stagecoach: warning: no CIFAR-10 found and the download failed", 0),
            0u)
      << result.err;
  expect_has(result.err, "training on the synthetic data set instead");
  expect_has(result.out, "alexnet on synthetic (drawn from seed 1138)");
  EXPECT_EQ(read_json("report.json")["data"], "synthetic (drawn from seed 1138)");
}

// Black images with label 0: a file of zeros, which takes no space.
void write_black_images(const fs::path& file) {
  testing::write_text(file, "");
  fs::resize_file(file, 30'730'000);
}

TEST_F(Program, TrainsOnTheFilesOfAFolder) {
  const fs::path data = folder_.path() / "cifar-10-batches-bin";
  fs::create_directory(data);
  write_black_images(data / "data_batch_1.bin");
  write_black_images(data / "test_batch.bin");
  // In an epoch's worth of steps a network learns that everything is 0.
  const ProgramResult result = run_train({{"--data", "auto"},
                                          {"--data-dir", folder_.path()},
                                          {"--steps", "20"},
                                          {"--eval-every", "20"},
                                          {"--lr", "0.02"},
                                          {"--report", file("report.json")}});
  expect_success(result);
  EXPECT_EQ(result.err, "");
  expect_has(result.out, "alexnet on CIFAR-10 (");
  expect_has(result.out, "accuracy 100.0 % on 9 test images");
  EXPECT_EQ(read_json("report.json")["data"], "CIFAR-10 (" + data.string() + ")");
}

}  // namespace
}  // namespace stagecoach
