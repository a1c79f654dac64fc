#include "trainer/cli/report_text.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "trainer/report_json.h"

namespace stagecoach {
namespace {

// Two stages, 1F1B, M = 8: stage 0 works 40 ms, stage 1 works 60 ms in each 75 ms.
RunReport example() {
  RunReport r;
  r.model = "alexnet";
  r.schedule = "1f1b";
  r.partition = "time (measured)";
  r.data = "CIFAR-10 from /data/cifar-10-batches-bin";
  r.stages = 2;
  r.micro_batches = 8;
  r.micro_batch_size = 4;
  r.steps = 20;
  r.image_size = 224;
  r.seed = 1138;
  r.images_per_second = 43.25;
  r.step_seconds_median = 0.075;
  r.total_seconds = 31.5;
  r.loss_first = 2.3026;
  r.loss_last = 1.75;
  r.training_accuracy_first = 0.125;
  r.training_accuracy_last = 0.25;
  r.loader_bytes = 3 << 20;
  r.process_peak_bytes = 900 << 20;
  r.stage = {{0, 0, 5, "features.0 Conv2d", "features.5 MaxPool2d", 330816, 0.010, 0.018, 0.012, 0,
              0, 0.035, 0.0001, 0.001},
             {1, 6, 21, "features.6 Conv2d", "classifier.6 Linear", 56713994, 0.020, 0.015, 0.025,
              0, 0, 0.015, 0.0001, 0.009}};
  r.bubble = BubbleReport{0.35, 1.0 / 3, 1.0 / 9, "(K-1)/(M+K-1)", 1.0 / 6, 0.077, 0.075, {}, {}};
  r.memory = {{100 << 20, 100 << 20}, {300 << 20, 290 << 20}};
  return r;
}

void expect_has(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in:\n" << text;
}
void expect_lacks(const std::string& text, const std::string& part) {
  EXPECT_EQ(text.find(part), std::string::npos) << "'" << part << "' in:\n" << text;
}
void expect_narrow(const std::string& text) {
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    EXPECT_LE(line.size(), 100u) << line;
    EXPECT_TRUE(line.empty() || line.back() != ' ') << "'" << line << "'";
  }
}

TEST(ReportText, SaysWhatRan) {
  const std::string text = to_text(example());
  expect_narrow(text);
  expect_has(text, "alexnet on CIFAR-10 from /data/cifar-10-batches-bin, 224 x 224, on cpu");
  expect_has(text, "1f1b, K = 2, M = 8, B = 4: 32 images a step, 1 thread a stage");
  expect_has(text, "43.2 images/s, median step 0.075 s, 20 steps in 31.5 s, seed 1138");
  expect_has(text, "loss 2.3026 -> 1.7500");
  expect_has(text, "accuracy in training 12.5 % -> 25.0 % (first -> last tenth of the steps)\n");
  expect_lacks(text, "test image");
  expect_lacks(text, "--last-batch");
  RunReport r = example();
  r.images_left_out = 16;
  expect_has(to_text(r), "16 images of every epoch fill no step and are left out: --last-batch");
  expect_narrow(to_text(r));
  EXPECT_EQ(to_json(r)["images_left_out"], 16);
  EXPECT_EQ(to_json(r)["training_accuracy_last"], 0.25);
}

TEST(ReportText, HasALineForEachStage) {
  const std::string text = to_text(example());
  expect_has(text,
             "    0  features.0 - features.5        330,816    10.0    18.0    12.0    35.0   0.1"
             "    40.0  40.0 %\n");
  expect_has(text,
             "    1  features.6 - classifier.6   56,713,994    20.0    15.0    25.0    15.0   0.1"
             "    60.0  60.0 %\n");
  expect_has(text, "57,044,810 parameters");
  expect_has(text, "optimizer: 9.0 ms");
}

TEST(ReportText, WhatStagesMakeOfTheProcessor) {
  RunReport r = example();
  expect_lacks(to_text(r), "GFLOP/s");
  EXPECT_TRUE(to_json(r)["instruction_set"].is_null());
  EXPECT_FALSE(to_json(r)["stages"][0].contains("peak_share"));
  r.core_peak = 50e9;
  r.instruction_set = "avx2";
  r.threads = 2;
  r.stage[0].multiply_adds = 3'000'000'000;  // of 4e9 in 40 ms
  r.stage[1].multiply_adds = 1'500'000'000;  // of 6e9 in 60 ms
  expect_has(to_text(r),
             "stages make 75.0 %, 25.0 % of a core's 100 GFLOP/s (avx2), convolutions counted as "
             "direct ones\n");
  EXPECT_EQ(to_json(r)["instruction_set"], "avx2");
  EXPECT_EQ(to_json(r)["core_multiply_adds_per_second"], 50e9);
  EXPECT_DOUBLE_EQ(to_json(r)["stages"][1]["peak_share"], 0.25);
  EXPECT_EQ(to_json(r)["stages"][1]["multiply_adds"], 1'500'000'000);
  while (r.stage.size() < 9) r.stage.push_back(r.stage[0]);
  expect_has(to_text(r), "stages make 25.0 % to 75.0 % of a core's");
  expect_narrow(to_text(r));
}

TEST(ReportText, TakesTheBubbleApart) {
  // T = 75, max = 60, mean = 50: schedule 15/75, imbalance 10/75, and 35 % - 33.3 % is left.
  const std::string text = to_text(example());
  expect_has(text, "bubble: measured 35.0 %, predicted 33.3 %, formula (K-1)/(M+K-1) = 11.1 %");
  expect_has(text, "  20.0 %  schedule");
  expect_has(text, "  13.3 %  imbalance");
  expect_has(text, "   1.7 %  the rest: shared cores");
  expect_has(text, "1 - mean/max is 16.7 %");
  expect_has(text, "makespan 75.0 ms, measured 77.0 ms");
}

TEST(ReportText, BubblePartsOfOtherRuns) {
  RunReport faster = example();
  faster.bubble->measured = 0.30;
  expect_has(to_text(faster), "  -3.3 %  the rest: the run was faster than predicted");

  RunReport exact = example();
  exact.bubble->measured = exact.bubble->predicted - 1e-6;
  expect_has(to_text(exact), "   0.0 %  the rest");
  expect_lacks(to_text(exact), "-0.0 %");

  RunReport naive = example();
  naive.schedule = "naive";
  naive.bubble = BubbleReport{0.5, 0.5, 0.5, "1 - 1/K", 0, 1, 1, {}, {}};
  expect_has(to_text(naive), "formula 1 - 1/K = 50.0 %");
  expect_has(to_text(naive), "  50.0 %  schedule: one stage works at a time");
  expect_has(to_text(naive), "   0.0 %  imbalance");

  RunReport one = example();
  one.bubble = BubbleReport{};
  expect_lacks(to_text(one), "nan");
  expect_lacks(to_text(one), "-0.0 %");

  RunReport idle = example();  // all stages but one did nothing
  idle.bubble->imbalance = 1;
  expect_lacks(to_text(idle), "nan");
  expect_lacks(to_text(idle), "inf");
}

TEST(ReportText, SeveralStagesOnARank) {
  RunReport r = example();
  r.schedule = "zb-v";
  r.chunks = 2;
  r.stages = 1;
  r.stage[1].rank = 0;
  r.bubble->formula.reset();
  r.bubble->joint_makespan_seconds = 0.1;
  const std::string text = to_text(r);
  expect_narrow(text);
  expect_has(text, "zb-v, K = 1, V = 2, M = 8, B = 4: 32 images a step");
  expect_has(text, "  0@0  features.0 - features.5");
  expect_has(text, "  1@0  features.6 - classifier.6");
  expect_lacks(text, "formula");
  expect_has(text,
             "with W at once after its B the makespan would be 100.0 ms; W fills 25.0 % of it");
}

TEST(ReportText, MessagesBetweenProcesses) {
  expect_lacks(to_text(example()), "between processes");
  RunReport r = example();
  r.processes = 4;
  r.replicas = 2;
  r.transport = TransportReport{{9.4e-6, 6.82e9}, 2, 3e-5};
  const std::string text = to_text(r);
  expect_narrow(text);
  expect_has(text, "\nmessages between processes, there too: 9 us, 6.8 GB/s\n");
  r.transport->messages.bandwidth = 123.4e6;
  expect_has(to_text(r), ": 9 us, 0.123 GB/s\n");
}

TEST(ReportText, SaysWhatZbH1WouldTake) {
  RunReport r = example();
  expect_lacks(to_text(r), "zb-h1");
  r.bubble->zb_h1_makespan_seconds = 0.0701;
  expect_narrow(to_text(r));
  expect_has(to_text(r), "with these times --schedule zb-h1 would take 70.1 ms");
  EXPECT_EQ(to_json(r)["bubble"]["zb_h1_makespan_seconds"], 0.0701);
}

TEST(ReportText, WhatRecomputingCosts) {
  RunReport r = example();
  r.recompute = Recompute::kAlways;
  r.recompute_interval = 3;
  r.stage[0].recompute_seconds = 0.010;
  r.stage[1].recompute_seconds = 0.015;
  r.planned_without_recompute = {500 << 20, 300 << 20};
  const std::string text = to_text(r);
  expect_narrow(text);
  expect_has(text,

             "    0  features.0 - features.5        330,816    10.0    10.0    18.0    12.0    35.0"
             "   0.1    50.0\n");
  expect_has(text,
             "recompute always (3 layers at a time): 25.0 ms a step, 20.0 % of the work\n"
             "memory of all stages with it 400.0 MiB, without it 800.0 MiB\n");
  expect_has(text, "busy = F + B + W + R");
}

TEST(ReportText, MemoryAndData) {
  RunReport r = example();
  std::string text = to_text(r);
  expect_has(text, "memory of stage 0: planned 100.0 MiB, measured peak 100.0 MiB: equal\n");
  expect_has(text, "memory of stage 1: planned 300.0 MiB, measured peak 290.0 MiB\n");
  expect_has(text, "loader 3.0 MiB, peak of the whole process 900.0 MiB");
  expect_has(text, "every batch was ready");
  r.data_waits = 3;
  r.data_wait_seconds = 0.123;
  expect_has(to_text(r), "3 steps waited 0.12 s");
}

TEST(ReportText, AccuracyWhenAsked) {
  RunReport r = example();
  r.accuracy = 0.4567;
  r.test_samples = 10000;
  expect_has(to_text(r), "accuracy 45.7 % on 10000 test images");
}

TEST(ReportText, ThePlainLoopHasNoBubble) {
  RunReport r = example();
  r.stages = 0;
  r.bubble->formula.reset();
  EXPECT_TRUE(to_json(r)["bubble"]["formula"].is_null());
  r.bubble.reset();
  r.stage.resize(1);
  r.memory.resize(1);
  const std::string text = to_text(r);
  expect_narrow(text);
  expect_has(text, "plain loop without a pipeline, M = 8, B = 4: 32 images a step");
  expect_lacks(text, "bubble");
  expect_lacks(text, "K = ");
}

TEST(ReportText, LongNamesAndLargeNumbersStayNarrow) {
  RunReport r = example();
  r.data = fmt::format("CIFAR-10 from /{}/end", std::string(300, 'd'));
  r.partition = std::string(200, '1');
  r.stage[0].first_name = "a_layer_with_a_very_long_name Conv2d";
  r.stage[0].forward_seconds = 123.4567;
  r.stage[1].first_name = " Flatten";
  const std::string text = to_text(r);
  expect_narrow(text);
  expect_has(text, "ddd/end, 224 x 224, on cpu");
  expect_has(text, "123456.7");
  expect_has(text, "Flatten - classifier.6");
  RunReport empty;
  expect_narrow(to_text(empty));
}

TEST(ReportJson, HasTheDocumentedKeys) {
  RunReport r = example();
  const nlohmann::json json = to_json(r);
  EXPECT_EQ(json["images_per_second"], 43.25);
  EXPECT_EQ(json["step_seconds_median"], 0.075);
  EXPECT_EQ(json["loss_first"], 2.3026);
  EXPECT_EQ(json["loss_last"], 1.75);
  EXPECT_EQ(json["data"], "CIFAR-10 from /data/cifar-10-batches-bin");
  EXPECT_TRUE(json["accuracy"].is_null());
  EXPECT_EQ(json["bubble"]["measured"], 0.35);
  EXPECT_EQ(json["bubble"]["predicted"], 1.0 / 3);
  EXPECT_EQ(json["bubble"]["formula"], 1.0 / 9);
  EXPECT_EQ(json["bubble"]["imbalance"], 1.0 / 6);
  ASSERT_EQ(json["stages"].size(), 2u);
  EXPECT_EQ(json["stages"][1]["first_layer"], 6);
  EXPECT_EQ(json["stages"][1]["last_layer"], 21);
  EXPECT_EQ(json["stages"][1]["parameters"], 56713994);
  EXPECT_EQ(json["stages"][1]["forward_seconds"], 0.020);
  EXPECT_EQ(json["stages"][1]["backward_input_seconds"], 0.015);
  EXPECT_EQ(json["stages"][1]["backward_weight_seconds"], 0.025);
  EXPECT_EQ(json["stages"][1]["wait_seconds"], 0.015);
  ASSERT_EQ(json["memory"].size(), 2u);
  EXPECT_EQ(json["memory"][1]["planned_bytes"], 300 << 20);
  EXPECT_EQ(json["memory"][1]["peak_bytes"], 290 << 20);
  EXPECT_EQ(json["stages"][1]["rank"], 1);
  EXPECT_EQ(json["stages"][1]["recompute_seconds"], 0);
  EXPECT_TRUE(json["bubble"]["joint_makespan_seconds"].is_null());
  EXPECT_EQ(json["recompute"], "never");
  EXPECT_EQ(json["chunks"], 1);
  EXPECT_TRUE(json["planned_bytes_without_recompute"].empty());
  EXPECT_EQ(json["pipeline_stages"], 2);
  EXPECT_EQ(json["seed"], 1138);
  EXPECT_TRUE(json["transport"].is_null());
  EXPECT_EQ(json["gradient_groups"], 1);
}

TEST(ReportJson, MessagesBetweenProcesses) {
  RunReport r = example();
  r.gradient_groups = 4;
  r.stage[0].message_bytes = 1 << 20;
  r.transport = TransportReport{{9e-6, 6.8e9}, 2, 3e-5};
  const nlohmann::json json = to_json(r);
  EXPECT_EQ(json["transport"],
            nlohmann::json::parse(R"({"latency_seconds": 9e-6, "bytes_per_second": 6.8e9,
                                      "machines": 2, "clocks_within_seconds": 3e-5})"));
  EXPECT_EQ(json["gradient_groups"], 4);
  EXPECT_EQ(json["stages"][0]["message_bytes"], 1 << 20);
}

TEST(ReportJson, NullWhereThereIsNothing) {
  RunReport r = example();
  r.accuracy = 0.5;
  EXPECT_EQ(to_json(r)["accuracy"], 0.5);
  r.bubble->formula.reset();
  EXPECT_TRUE(to_json(r)["bubble"]["formula"].is_null());
  r.bubble.reset();
  r.loss_last = std::nan("");
  const auto parsed = nlohmann::json::parse(to_json(r).dump());
  EXPECT_TRUE(parsed["bubble"].is_null());
  EXPECT_TRUE(parsed["loss_last"].is_null());
}

}  // namespace
}  // namespace stagecoach
