#include "trainer/cli/command_line.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "core/error.h"
#include "layers/layers.h"
#include "trainer/cli/words.h"
#include "trainer/devices.h"

namespace stagecoach {
namespace {

CommandLine parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "stagecoach");
  return parse_command_line(static_cast<int>(arguments.size()), arguments.data());
}

TrainRun train(std::vector<const char*> options) {
  options.insert(options.begin(), "train");
  const CommandLine line = parse(std::move(options));
  EXPECT_EQ(line.command, Command::kTrain);
  return *line.train;
}

// The message of the UsageError that `arguments` cause; fails the test when there is none.
std::string usage_error(const std::vector<const char*>& arguments) {
  std::string all;
  for (const char* argument : arguments) all += std::string(argument) + " ";
  try {
    parse(arguments);
  } catch (const UsageError& error) {
    return error.message();
  }
  ADD_FAILURE() << "accepted: " << all;
  return "";
}

std::string train_error(std::vector<const char*> options) {
  options.insert(options.begin(), "train");
  return usage_error(options);
}

void expect_has(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
}

// What a help or version option prints to stdout.
std::string printed(const std::vector<const char*>& arguments) {
  ::testing::internal::CaptureStdout();
  const CommandLine line = parse(arguments);
  const std::string text = ::testing::internal::GetCapturedStdout();
  EXPECT_EQ(line.command, Command::kNone);
  EXPECT_EQ(line.exit_code, 0);
  return text;
}

TEST(CommandLine, ChunksAreTheSchedulesOwnUnlessGiven) {
  EXPECT_EQ(train({"--schedule", "interleaved"}).chunks, 2);
  EXPECT_EQ(train({"--schedule", "interleaved", "--chunks", "3"}).chunks, 3);
  EXPECT_EQ(train({"--schedule", "zb-v"}).chunks, 2);
  EXPECT_EQ(train({"--schedule", "zb-h1"}).chunks, 1);
  EXPECT_EQ(train({"--schedule", "zb-v", "--stages", "3"}).job.stages(), 6);
  EXPECT_EQ(train({"--schedule", "zb-v", "--stages", "0"}).job.stages(), 1);
  expect_has(train_error({"--chunks", "0"}), "--chunks of at least 1");
  expect_has(train_error({"--schedule", "zb-v", "--partition", "3,10"}),
             "one cut fewer than --stages 2 times 2 chunks, got --partition 3,10, which makes 3");
}

TEST(CommandLine, Recomputation) {
  EXPECT_EQ(train({"--recompute", "except_last"}).job.recompute, Recompute::kExceptLast);
  EXPECT_EQ(train({"--recompute", "always", "--recompute-interval", "2"}).job.recompute_interval,
            2);
  EXPECT_EQ(train({"--activation-checkpoint-interval", "2"}).job.recompute, Recompute::kAlways);
  expect_has(train_error({"--recompute", "never", "--recompute-interval", "2"}),
             "--recompute-interval with --recompute always");
  expect_has(train_error({"--recompute", "sometimes"}), "never, except_last or always");
  expect_has(train_error({"--recompute", "except_last", "--recompute-interval", "2"}),
             "--recompute-interval with --recompute always");
  expect_has(train_error({"--recompute", "always", "--stages", "0"}), "with a pipeline only");
}

// A table in a file says how many ranks, chunks and micro-batches there are.
class TableFile : public ::testing::Test {
 protected:
  std::string write(const std::string& text) {
    const auto file =
        std::filesystem::path(::testing::TempDir()) /
        (std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()) + ".txt");
    std::ofstream(file) << text;
    return file.string();
  }
};

TEST_F(TableFile, SaysTheSizes) {
  const std::string file =
      write("0F0 3F0 0F1 3F1 3BW0 0BW0 3BW1 0BW1\n1F0 2F0 1F1 2F1 2BW0 1BW0 2BW1 1BW1\n");
  const TrainRun run = train({"--schedule", file.c_str()});
  EXPECT_EQ(run.job.ranks(), 2);
  EXPECT_EQ(run.chunks, 2);
  EXPECT_EQ(run.job.micro_batches(), 2);
  EXPECT_EQ(run.job.stages(), 4);
  expect_has(train_error({"--schedule", file.c_str(), "--stages", "4"}), "--stages 2, as in ");
  expect_has(train_error({"--schedule", file.c_str(), "--micro-batches", "8"}),
             "--micro-batches 2, as in ");
  expect_has(train_error({"--schedule", file.c_str(), "--chunks", "1"}), "--chunks 2, as in ");
}

TEST_F(TableFile, IsNotWrittenOver) {
  const std::string file = write("0F0 0BW0\n1F0 1BW0\n");
  for (const char* option : {"--save", "--report", "--svg"}) {
    expect_has(train_error({"--schedule", file.c_str(), option, file.c_str()}),
               std::string("different files for ") + option + " and --schedule");
  }
}

TEST_F(TableFile, MustTrainOnEvenRanks) {
  expect_has(train_error({"--schedule", write("0F0\n1F0\n").c_str()}), "a table with backwards");
  expect_has(train_error({"--schedule", write("0F0 1F0 1BW0 0BW0\n2F0 2BW0\n").c_str()}),
             "as many stages on each rank");
  try {
    train({"--schedule", write("0F0 0BW0\n1F0 1BW1\n").c_str()});
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    expect_has(error.message(), "line 2, rank 1, position 1: 1BW1");
  }
}

TEST(CommandLine, DefaultsShowLearning) {
  const TrainRun run = train({});
  EXPECT_EQ(run.network.name(), "alexnet");
  EXPECT_EQ(run.data.kind, DataKind::kAuto);
  EXPECT_TRUE(run.data.directory.empty());
  EXPECT_EQ(run.image_size, 224);
  EXPECT_TRUE(run.job.pipeline);
  EXPECT_EQ(run.job.ranks(), 2);
  EXPECT_EQ(run.job.stages(), 2);
  EXPECT_EQ(run.schedule, "1f1b");
  EXPECT_EQ(run.chunks, 1);
  EXPECT_EQ(run.job.recompute, Recompute::kNever);
  EXPECT_EQ(run.job.batch(), 64);
  EXPECT_EQ(run.job.sample, (Shape{3, 224, 224}));
  EXPECT_EQ(run.job.partition.kind, PartitionKind::kTime);
  EXPECT_EQ(run.steps, 50);
  EXPECT_EQ(run.epochs, 0);
  EXPECT_EQ(run.eval_every, 0);
  EXPECT_EQ(run.job.optimizer.kind, OptimizerKind::kAdam);
  EXPECT_EQ(run.job.optimizer.learning_rate.rate, 3e-4);
  EXPECT_EQ(run.job.optimizer.adam.weight_decay, 0);
  EXPECT_EQ(run.network[18].layer->describe(), dropout_layer(0.5f)->describe());
  EXPECT_EQ(run.job.seed, 1138u);
  EXPECT_EQ(run.data.seed, 1138u);
  EXPECT_FALSE(run.random_crop || run.random_flip || run.fixed_batch || run.quiet);
  EXPECT_TRUE(run.save.empty() && run.init.empty() && run.metrics.empty());
  EXPECT_TRUE(run.report.empty() && run.trace.empty() && run.svg.empty());
}

TEST(CommandLine, EveryOptionArrives) {
  const TrainRun run = train({"--model",
                              "alexnet",
                              "--data",
                              "synthetic",
                              "--data-dir",
                              "/d",
                              "--image-size",
                              "63",
                              "-p",
                              "3",
                              "--schedule",
                              "gpipe",
                              "--micro-batch-size",
                              "5",
                              "--micro-batches",
                              "7",
                              "--partition",
                              "3,10",
                              "--epochs",
                              "2",
                              "--eval-every",
                              "9",
                              "--optimizer",
                              "sgd",
                              "--lr",
                              "0.25",
                              "--momentum",
                              "0",
                              "--weight-decay",
                              "0",
                              "--dropout",
                              "0",
                              "--max-train-samples",
                              "100",
                              "--max-test-samples",
                              "50",
                              "--seed",
                              "18446744073709551615",
                              "--threads",
                              "4",
                              "--save",
                              "a",
                              "--init",
                              "b",
                              "--metrics",
                              "c",
                              "--report",
                              "d",
                              "--trace",
                              "e",
                              "--svg",
                              "f",
                              "--device",
                              "cuda:1,0",
                              "--precision",
                              "tf32",
                              "--eager",
                              "--tune",
                              "--fast-nondeterministic",
                              "--random-crop",
                              "--random-flip",
                              "--quiet"});
  EXPECT_EQ(run.data.kind, DataKind::kSynthetic);
  EXPECT_EQ(run.data.directory, "/d");
  EXPECT_EQ(run.image_size, 63);
  EXPECT_EQ(run.job.sample, (Shape{3, 63, 63}));
  EXPECT_EQ(run.job.ranks(), 3);
  EXPECT_EQ(run.schedule, "gpipe");
  EXPECT_EQ(run.job.device.kind, DeviceRequest::Kind::kCuda);
  EXPECT_EQ(run.job.device.gpus, (std::vector<int>{1, 0}));
  EXPECT_EQ(run.job.precision, Precision::kTf32);
  EXPECT_TRUE(run.job.eager && run.job.tune && run.job.fast_nondeterministic);
  EXPECT_EQ(run.job.micro_batch_size, 5);
  EXPECT_EQ(run.job.micro_batches(), 7);
  EXPECT_EQ(run.job.partition.kind, PartitionKind::kCuts);
  EXPECT_EQ(run.job.partition.cuts, (std::vector<int>{3, 10}));
  EXPECT_EQ(run.steps, 0);
  EXPECT_EQ(run.epochs, 2);
  EXPECT_EQ(run.eval_every, 9);
  EXPECT_EQ(run.job.optimizer.learning_rate.rate, 0.25);
  EXPECT_EQ(run.job.optimizer.sgd.momentum, 0);
  EXPECT_EQ(run.job.optimizer.sgd.weight_decay, 0);
  EXPECT_EQ(run.network[18].layer->describe(), dropout_layer(0)->describe());
  EXPECT_EQ(run.data.max_train, 100);
  EXPECT_EQ(run.data.max_test, 50);
  EXPECT_EQ(run.job.seed, 18446744073709551615u);
  EXPECT_EQ(run.job.threads, 4);
  EXPECT_EQ(run.save, "a");
  EXPECT_EQ(run.init, "b");
  EXPECT_EQ(run.metrics, "c");
  EXPECT_EQ(run.report, "d");
  EXPECT_EQ(run.trace, "e");
  EXPECT_EQ(run.svg, "f");
  EXPECT_TRUE(run.random_crop && run.random_flip && run.quiet);
}

TEST(CommandLine, OtherNamesAndForms) {
  EXPECT_EQ(train({"--pipeline-parallel-size", "4"}).job.ranks(), 4);
  EXPECT_EQ(train({"--stages=4"}).job.ranks(), 4);
  EXPECT_EQ(train({"-p4", "-s", "3"}).job.ranks(), 4);
  EXPECT_EQ(train({"-s", "3"}).steps, 3);
  EXPECT_EQ(train({"--learning-rate", "2e-3"}).job.optimizer.learning_rate.rate, 2e-3);
  EXPECT_EQ(train({"--stages", "0"}).job.ranks(), 1);
}

TEST(CommandLine, RatesBelongToTheOptimizer) {
  const auto adam = [](std::vector<const char*> options) {
    options.insert(options.begin(), {"--optimizer", "adam"});
    return train(options).job.optimizer;
  };
  EXPECT_EQ(adam({}).learning_rate.rate, 3e-4);
  EXPECT_EQ(adam({"--lr", "0.01"}).learning_rate.rate, 0.01);
  EXPECT_EQ(train({"--optimizer", "sgd"}).job.optimizer.learning_rate.rate, 0.01);
  EXPECT_EQ(train({"--momentum", "0.5"}).job.optimizer.kind, OptimizerKind::kSgd);
  const OptimizerRequest sgd = train({"--optimizer", "sgd"}).job.optimizer;
  EXPECT_EQ(sgd.sgd.momentum, 0.9f);
  EXPECT_EQ(adam({}).adam.weight_decay, 0);  // as in PyTorch
  EXPECT_EQ(adam({"--weight-decay", "0.01"}).adam.weight_decay, 0.01f);
  EXPECT_EQ(train({"--optimizer", "sgd"}).job.optimizer.sgd.weight_decay, 0.0005f);
}

TEST(CommandLine, ARecipe) {
  const TrainRun plain = train({});
  EXPECT_EQ(plain.learning_rate_schedule.kind, LearningRateKind::kConstant);
  EXPECT_EQ(plain.learning_rate_schedule.warmup, Duration{});
  EXPECT_EQ(plain.job.optimizer.clip_norm, 0);
  EXPECT_EQ(plain.job.init, InitScheme::kTorch);
  EXPECT_EQ(plain.last_batch, LastBatch::kDrop);
  EXPECT_EQ(plain.network.loss().describe(), "SoftmaxCrossEntropy()");
  const TrainRun run =
      train({"--lr-schedule", "milestones", "--lr-milestones", "100,2.5epochs", "--lr-gamma", "0.5",
             "--lr-warmup", "0.1epochs", "--clip-grad-norm", "2", "--label-smoothing", "0.1",
             "--init-scheme", "kaiming", "--last-batch", "keep", "--gradient-groups", "4"});
  EXPECT_EQ(run.learning_rate_schedule.kind, LearningRateKind::kMilestones);
  EXPECT_EQ(run.learning_rate_schedule.milestones, (std::vector<Duration>{{100, 0}, {0, 2.5}}));
  EXPECT_EQ(run.learning_rate_schedule.gamma, 0.5);
  EXPECT_EQ(run.learning_rate_schedule.warmup, (Duration{0, 0.1}));
  EXPECT_EQ(run.job.optimizer.clip_norm, 2);
  EXPECT_EQ(run.job.gradient_groups, 4);
  EXPECT_EQ(run.job.init, InitScheme::kKaiming);
  EXPECT_EQ(run.last_batch, LastBatch::kKeep);
  EXPECT_EQ(run.network.loss().describe(), "SoftmaxCrossEntropy(label_smoothing 0.1)");
  const TrainRun cosine = train({"--lr-schedule", "cosine", "--lr", "0.01", "--lr-min", "0.001"});
  EXPECT_EQ(cosine.learning_rate_schedule.min_rate, 0.001);
  const TrainRun steps = train({"--lr-schedule", "step", "--lr-step-size", "1epoch"});
  EXPECT_EQ(steps.learning_rate_schedule.step_size, (Duration{0, 1}));
}

TEST(CommandLine, LengthsAreStepsOrEpochs) {
  for (const char* bad : {"", "x", "-1", "1.5", "2 epochs", "2ep", "epochs", "nanepochs", "1e99"}) {
    expect_has(train_error({"--lr-warmup", bad}),
               "--lr-warmup with steps or epochs: 500, 2.5epochs");
  }
  for (const char* bad : {"", ",", "1,", ",1", "1,,2", "1;2"}) {
    expect_has(train_error({"--lr-schedule", "milestones", "--lr-milestones", bad}),
               "--lr-milestones with steps or epochs");
  }
  expect_has(train_error({"--clip-grad-norm", "-1"}), "--clip-grad-norm of at least 0");
  expect_has(train_error({"--clip-grad-norm", "inf"}), "--clip-grad-norm of at least 0");
  expect_has(train_error({"--label-smoothing", "1"}),
             "--label-smoothing of at least 0 and below 1");
  for (const char* bad : {"3", "16"}) {
    expect_has(train_error({"--gradient-groups", bad}),
               "--gradient-groups: a power of two that divides the 8 micro-batches");
  }
  expect_has(train_error({"--gradient-groups", "0"}), "--gradient-groups");
  EXPECT_EQ(train({"--replicas", "2"}).job.gradient_groups, 2);
  EXPECT_EQ(train({"--replicas", "2"}).job.batch(), 128);
  expect_has(train_error({"--replicas", "3"}), "--replicas: a power of two");
  expect_has(train_error({"--replicas", "2", "--stages", "0"}), "--stages of at least 1");
  expect_has(train_error({"--replicas", "4", "--gradient-groups", "2"}), "at least the 4 replicas");
  EXPECT_EQ(train({"--replicas", "2", "--zero", "1", "--overlap"}).job.zero, 1);
  EXPECT_TRUE(train({"--replicas", "2", "--zero", "1", "--overlap"}).job.overlap);
  expect_has(train_error({"--zero", "1"}), "--zero with several replicas");
  EXPECT_TRUE(train({"--overlap"}).job.overlap);
  expect_has(train_error({"--overlap", "--stages", "0"}), "--overlap with a pipeline only");
  expect_has(train_error({"--overlap", "--clip-grad-norm", "1"}), "with one replica");
  EXPECT_TRUE(train({"--overlap", "--clip-grad-norm", "1", "--replicas", "2"}).job.overlap);
  expect_has(train_error({"--replicas", "2", "--zero", "2"}), "--zero: 0 or 1");
  expect_has(train_error({"--replicas", "2", "--zero", "2"}), "until the last micro-batch");
  expect_has(train_error({"--lr-gamma", "0.5"}), "--lr-gamma with --lr-schedule step");
  expect_has(train_error({"--init-scheme", "kaimin"}), "kaiming");
}

TEST(CommandLine, ThreadsShareTheCores) {
  EXPECT_EQ(threads_of_rank(100000), 1);
  EXPECT_EQ(threads_of_rank(2), std::max(1, threads_of_rank(1) / 2));
}

TEST(CommandLine, CommandsHelpAndVersion) {
  EXPECT_EQ(parse({"info"}).command, Command::kInfo);
  const std::string help = printed({"--help"});
  expect_has(help, "train");
  expect_has(help, "info");
  expect_has(printed({"info", "--help"}), "info");
  EXPECT_EQ(printed({"--version"}), "stagecoach " STAGECOACH_VERSION "\n");
}

TEST(CommandLine, TrainHelpTeaches) {
  const std::string help = printed({"train", "--help"});
  for (const char* part :
       {"Pipeline:", "Training:", "-p,--stages", "--pipeline-parallel-size", "[224]", "[1138]",
        "sgd: 0.01, adam: 0.0003", "naive, gpipe, 1f1b, interleaved, zb-h1, zb-v or dualpipe-v",
        "Examples:", "by the schedule's formula"}) {
    expect_has(help, part);
  }
  std::size_t begin = 0;
  while (begin < help.size()) {
    const std::size_t end = help.find('\n', begin);
    EXPECT_LE(end - begin, 100u) << help.substr(begin, end - begin);
    begin = end + 1;
  }
}

TEST(CommandLine, CommandsThatAreNone) {
  expect_has(usage_error({}), "train, simulate, inspect or info");
  expect_has(usage_error({"trian"}), "did you mean 'train'?");
  expect_has(usage_error({"bake"}), "'bake'");
  expect_has(usage_error({"--steps", "3"}), "behind the word train");
  expect_has(usage_error({"--verson"}), "did you mean '--version'?");
  usage_error({"train", "info"});
  usage_error({"info", "--stages", "2"});
  usage_error({"train", "5"});
}

TEST(CommandLine, UnknownOptionsGetASuggestion) {
  expect_has(train_error({"--stage", "2"}), "did you mean '--stages'?");
  expect_has(train_error({"--micro-bach-size=4"}), "did you mean '--micro-batch-size'?");
  expect_has(train_error({"--bogus"}), "stagecoach train --help");
  expect_has(train_error({"--bogus"}), "'--bogus'");
}

TEST(CommandLine, ValuesThatAreNone) {
  expect_has(train_error({"--steps", "many"}), "expected a whole number after --steps, got 'many'");
  expect_has(train_error({"--stages", "2.5"}), "expected a whole number after --stages, got '2.5'");
  expect_has(train_error({"--stages", ""}), "expected a whole number after --stages, got ''");
  expect_has(train_error({"--seed", "-1"}), "a whole number, at least 0, after --seed, got '-1'");
  expect_has(train_error({"--seed", "99999999999999999999"}), "a smaller number after --seed");
  expect_has(train_error({"--lr", "fast"}), "expected a number after --lr, got 'fast'");
  expect_has(train_error({"--steps"}), "expected --steps with one value, got none");
  expect_has(train_error({"--steps", "1", "--steps", "2"}), "--steps with one value, got several");
  expect_has(train_error({"--steps", "99999999999999999999"}), "a smaller number after --steps");
  expect_has(train_error({"--save", ""}), "--save");
  expect_has(train_error({"--data-dir", ""}), "--data-dir");
}

TEST(CommandLine, NumbersOutOfRange) {
  const std::vector<std::pair<const char*, const char*>> wrong = {{"--stages", "-1"},
                                                                  {"--micro-batch-size", "0"},
                                                                  {"--micro-batches", "0"},
                                                                  {"--image-size", "62"},
                                                                  {"--image-size", "1000000"},
                                                                  {"--threads", "-1"},
                                                                  {"--lr", "0"},
                                                                  {"--lr", "-0.1"},
                                                                  {"--lr", "nan"},
                                                                  {"--lr", "inf"},
                                                                  {"--momentum", "1"},
                                                                  {"--momentum", "-0.1"},
                                                                  {"--momentum", "nan"},
                                                                  {"--weight-decay", "-1"},
                                                                  {"--weight-decay", "inf"},
                                                                  {"--dropout", "1"},
                                                                  {"--dropout", "-0.5"},
                                                                  {"--dropout", "nan"},
                                                                  {"--eval-every", "-1"},
                                                                  {"--steps", "0"},
                                                                  {"--steps", "-5"},
                                                                  {"--epochs", "0"},
                                                                  {"--epochs", "-1"},
                                                                  {"--max-train-samples", "-1"},
                                                                  {"--max-test-samples", "-1"}};
  for (const auto& [option, value] : wrong) {
    const std::string message = train_error({option, value});
    expect_has(message, option);
    expect_has(message, std::string("got ") + value);
  }
}

TEST(CommandLine, StepsOrEpochs) {
  const std::string message = train_error({"--steps", "3", "--epochs", "1"});
  expect_has(message, "--steps 3");
  expect_has(message, "--epochs 1");
}

TEST(CommandLine, Words) {
  expect_has(train_error({"--schedule", "1fb1"}), "did you mean '1f1b'?");
  expect_has(train_error({"--schedule", "zb"}),
             "naive, gpipe, 1f1b, interleaved, zb-h1, zb-v or dualpipe-v");
  expect_has(train_error({"--model", "resnet"}), "alexnet");
  expect_has(train_error({"--optimizer", "adamw"}), "did you mean 'adam'?");
  expect_has(train_error({"--data", "imagenet"}), "auto, cifar10 or synthetic");
}

TEST(CommandLine, Partitions) {
  for (const Word<PartitionKind>& word : kPartitionWords) {
    EXPECT_EQ(train({"--partition", word.text.data()}).job.partition.kind, word.value);
  }
  EXPECT_EQ(train({"--partition", "7"}).job.partition.cuts, (std::vector<int>{7}));
  EXPECT_EQ(train({"--partition", "3,10,15", "-p", "4"}).job.partition.cuts,
            (std::vector<int>{3, 10, 15}));
  expect_has(train_error({"--partition", "tiem"}), "'tiem'");
  expect_has(train_error({"--partition", "params"}), "'params'");
  expect_has(train_error({"--partition", "-3"}), "'-3'");
  for (const char* text : {",", "3,", ",3", "3,,4"}) {
    expect_has(train_error({"--partition", text, "-p", "3"}), text);
  }
  train_error({"--partition", ""});
  expect_has(train_error({"--partition", "99999999999"}), "'99999999999'");
  expect_has(train_error({"--partition", "3,10"}), "3 stages");
  expect_has(train_error({"--partition", "3", "-p", "0"}), "plain loop");
  expect_has(train_error({"--fixed-batch", "--checkpoint-dir", "run1"}), "--fixed-batch or");
}

TEST(CommandLine, MomentumIsOfSgd) {
  const std::string message = train_error({"--optimizer", "adam", "--momentum", "0.9"});
  expect_has(message, "--momentum");
  expect_has(message, "adam");
}

TEST(CommandLine, OneFileCannotBeTwoThings) {
  const std::string message = train_error({"--metrics", "run.json", "--report", "./run.json"});
  expect_has(message, "--metrics");
  expect_has(message, "--report");
  train_error({"--trace", "x/../a", "--svg", "a"});
  train_error({"--init", "w", "--report", "w"});
  EXPECT_EQ(train({"--init", "w", "--save", "w"}).save, "w");
}

}  // namespace
}  // namespace stagecoach
