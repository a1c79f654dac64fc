#include "trainer/config.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/schedule_file.h"
#include "trainer/cli/suggest.h"
#include "trainer/devices.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTrain = "stagecoach train";
// Far beyond any use; they keep products of sizes within 64 bits.
constexpr std::int64_t kMany = 65536;
constexpr std::int64_t kForever = std::int64_t{1} << 40;
// 63 -> conv1 15 -> pool 7 -> pool 3 -> pool 1; 62 leaves nothing for the last pool.
constexpr std::int64_t kSmallestAlexNetImage = 63;
constexpr std::int64_t kLargestImage = 4096;

void check_range(const char* option, std::int64_t value, std::int64_t low, std::int64_t high,
                 const char* hint = "") {
  if (value >= low && value <= high) return;
  throw UsageError(kTrain,
                   value < low ? fmt::format("{} of at least {}", option, low)
                               : fmt::format("{} of at most {}", option, high),
                   fmt::format("{}", value), hint);
}

void check_below_one(const char* option, double value) {
  if (value >= 0 && value < 1) return;
  throw UsageError(kTrain, fmt::format("{} of at least 0 and below 1", option),
                   fmt::format("{}", value));
}

void check_word(const char* option, const std::string& word,
                const std::vector<std::string>& words) {
  if (std::find(words.begin(), words.end(), word) != words.end()) return;
  throw UsageError(kTrain, fmt::format("{} {}", option, enumerate(words)),
                   fmt::format("'{}'", word), did_you_mean(word, words));
}

// time, uniform, parameters, or numbers between commas. Whether the cuts fit the network is checked
// by partition_from_text.
void check_partition(const TrainConfig& config) {
  const std::string& text = config.partition;
  const std::vector<std::string> words = {"time", "uniform", "parameters"};
  if (std::find(words.begin(), words.end(), text) != words.end()) return;
  const bool cuts = !text.empty() && text.find_first_not_of("0123456789,") == std::string::npos;
  if (!cuts) {
    const std::string hint = did_you_mean(text, words);
    throw UsageError(kTrain, "--partition time, uniform, parameters or cuts like 3,10",
                     fmt::format("'{}'", text),
                     hint.empty() ? "a cut is the index of a stage's first layer" : hint);
  }
  const auto commas = std::count(text.begin(), text.end(), ',');
  if (text.front() == ',' || text.back() == ',' || text.find(",,") != std::string::npos) {
    throw UsageError(kTrain, "--partition with one number between commas, like 3,10",
                     fmt::format("'{}'", text));
  }
  const std::int64_t pieces = static_cast<std::int64_t>(config.stages) * config.chunks;
  if (commas + 2 == pieces) return;
  const std::string stages = config.chunks == 1
                                 ? fmt::format("{}", config.stages)
                                 : fmt::format("{} times {} chunks", config.stages, config.chunks);
  throw UsageError(kTrain,
                   fmt::format("one cut fewer than --stages {}",
                               config.stages == 0 ? "(0: the plain loop has none)" : stages),
                   fmt::format("--partition {}, which makes {} stages", text, commas + 2));
}

void check_recompute(const TrainConfig& config) {
  check_word("--recompute", config.recompute, recompute_words());
  check_range("--recompute-interval", config.recompute_interval, 0, kMany,
              "0 recomputes all layers of a stage at once");
  if (config.stages == 0 && config.recompute != "never") {
    throw UsageError(kTrain, "--recompute with a pipeline only", "--stages 0",
                     "--stages 1 is a pipeline of one stage");
  }
  if (config.recompute_interval == 0 || config.recompute == "always") return;
  throw UsageError(kTrain, "--recompute-interval with --recompute always",
                   fmt::format("--recompute {}", config.recompute),
                   "runs of layers share the memory of one, so no micro-batch can keep them all");
}

void check_optimizer(const TrainConfig& config) {
  check_word("--optimizer", config.optimizer, {"sgd", "adam"});
  if (!(config.learning_rate > 0) || !std::isfinite(config.learning_rate)) {
    throw UsageError(kTrain, "--lr above 0", fmt::format("{}", config.learning_rate));
  }
  check_below_one("--momentum", config.momentum);
  if (!(config.weight_decay >= 0) || !std::isfinite(config.weight_decay)) {
    throw UsageError(kTrain, "--weight-decay of at least 0",
                     fmt::format("{}", config.weight_decay));
  }
  check_below_one("--dropout", config.dropout);
}

// One file cannot be two things. --save may replace what --init has read.
void check_files(const TrainConfig& config) {
  NamedFiles files = {{"--init", config.init},
                      {"--metrics", config.metrics},
                      {"--report", config.report},
                      {"--trace", config.trace},
                      {"--svg", config.svg}};
  check_different_files(kTrain, files);
  files[0] = {"--save", config.save};
  if (config.table) files.emplace_back("--schedule", config.schedule);
  check_different_files(kTrain, files);
}

}  // namespace

std::int64_t TrainConfig::pieces() const {
  const int each = chunks > 0 ? chunks : stages == 0 ? 1 : default_chunks(schedule);
  return std::int64_t{ranks()} * each;
}

bool names_a_file(const std::string& schedule) {
  const std::vector<std::string> names = schedule_names();
  if (std::find(names.begin(), names.end(), schedule) != names.end()) return false;
  std::error_code ignored;
  return schedule.find_first_of("./") != std::string::npos || fs::exists(schedule, ignored);
}

Schedule schedule_of(const TrainConfig& config) {
  Schedule schedule = config.stages == 0 ? make_schedule("naive", 1, config.micro_batches)
                      : config.table     ? *config.table
                                         : make_schedule(config.schedule, config.stages,
                                                         config.micro_batches, config.chunks);
  if (config.recompute == "never") return schedule;  // a table may have R of its own
  return with_recompute(schedule, recompute_of(config.recompute));
}

std::vector<std::string> recompute_words() {
  return {"never", "except_last", "always"};
}

Recompute recompute_of(const std::string& word) {
  return word == "always"        ? Recompute::kAlways
         : word == "except_last" ? Recompute::kExceptLast
                                 : Recompute::kNever;
}

void read_table(TrainConfig& config, const GivenSizes& given) {
  Schedule table = read_schedule(config.schedule, &config.table_notes);
  check(table);
  const auto take = [&](const char* option, int& value, bool is_given, int of_file) {
    if (is_given && value != of_file) {
      throw UsageError(kTrain, fmt::format("{} {}, as in {}", option, of_file, config.schedule),
                       fmt::format("{}", value), "leave it out: the table says it");
    }
    value = of_file;
  };
  const auto ranks = static_cast<int>(table.ranks.size());
  take("--stages", config.stages, given.stages, ranks);
  take("--micro-batches", config.micro_batches, given.micro_batches, table.micro_batches);
  if (!is_training(table)) {
    throw UsageError(kTrain, "a table with backwards", fmt::format("{}, F only", config.schedule));
  }
  if (table.stages % ranks != 0) {
    throw UsageError(
        kTrain, "a table with as many stages on each rank",
        fmt::format("{} with {} stages on {} ranks", config.schedule, table.stages, ranks));
  }
  take("--chunks", config.chunks, given.chunks, table.stages / ranks);
  config.table = std::make_shared<const Schedule>(std::move(table));
}

int TrainConfig::threads_per_stage() const {
  if (threads > 0) return threads;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / ranks());
}

bool has_cuts(const TrainConfig& config) {
  return config.partition.find_first_of("0123456789") == 0;
}

void validate(const TrainConfig& config) {
  check_word("--model", config.model, {"alexnet"});
  check_word("--data", config.data, {"auto", "cifar10", "synthetic"});
  check_range("--image-size", config.image_size, kSmallestAlexNetImage, kLargestImage,
              "AlexNet's pools leave nothing of an image below 63 x 63");
  check_range("--max-train-samples", config.max_train_samples, 0, kForever, "0 takes all");
  check_range("--max-test-samples", config.max_test_samples, 0, kForever, "0 takes all");

  check_range("--stages", config.stages, 0, kMany, "0 is the plain loop without a pipeline");
  if (!names_a_file(config.schedule)) check_word("--schedule", config.schedule, schedule_names());
  check_range("--chunks", config.chunks, 1, kMany);
  check_recompute(config);
  check_range("--micro-batch-size", config.micro_batch_size, 1, kMany);
  check_range("--micro-batches", config.micro_batches, 1, kMany);
  check_partition(config);
  if (config.device != "auto" && config.device != "cpu") gpu_indices(config.device);
  check_word("--precision", config.precision, {"auto", "fp32", "tf32", "bf16"});
  check_range("--threads", config.threads, 0, 1024, "0 shares the cores among the stages");

  check_range("--steps", config.steps, config.epochs > 0 ? 0 : 1, kForever);
  check_range("--epochs", config.epochs, 0, kForever);
  if (config.steps > 0 && config.epochs > 0) {
    throw UsageError(kTrain, "--steps or --epochs",
                     fmt::format("--steps {} and --epochs {}", config.steps, config.epochs),
                     "an epoch is one pass over the training images, in as many steps as it takes");
  }
  check_range("--eval-every", config.eval_every, 0, kForever, "0 never evaluates");
  check_optimizer(config);
  check_files(config);
}

}  // namespace stagecoach
