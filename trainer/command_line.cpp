#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <utility>
#include <vector>

#include "core/error.h"
#include "pipeline/schedule.h"
#include "trainer/config.h"
#include "trainer/suggest.h"

namespace stagecoach {
namespace {

constexpr std::int64_t kDefaultSteps = 20;
constexpr double kSgdLearningRate = 0.01;
constexpr double kAdamLearningRate = 1e-4;  // AlexNet from scratch often diverges at Adam's 1e-3

constexpr const char* kFooter = R"(Examples:
  stagecoach train                                       CIFAR-10 at 224 x 224, two stages, 1F1B
  stagecoach train --help                                every option, and what a run measures
  stagecoach info                                        what this machine and this build can do)";

constexpr const char* kTrainFooter = R"(Examples:
  stagecoach train
      20 steps of AlexNet on CIFAR-10, two stages, 8 micro-batches of 8 images: about a minute.
  stagecoach train --stages 4 --schedule gpipe --svg timeline.svg
      Four stages under GPipe, and a picture of the measured timeline beside the predicted one.
  stagecoach train --data synthetic --stages 0 --save plain.safetensors
      No download, no pipeline. The weights have the same bits as those of any --stages.
  stagecoach train --epochs 1 --eval-every 100 --metrics run.jsonl --report run.json
      A whole epoch, the test accuracy every 100 steps, everything kept for programs to read.

What a run measures, and prints at its end:
  F, B, W   the time of each stage in forward, in the gradient of its input, in that of its weights
  wait      the time in which a stage had nothing to do
  bubble    the idle part of all stages' time: as measured; as predicted by replaying the schedule
            with the measured F, B and W; and by the formula for equal stages, (K-1)/(M+K-1)
  memory    what was planned for each stage before the first step, and its measured peak
Losses and weights do not depend on --stages, --schedule, --partition or --threads, to the last bit.)";

// CLI11's layout with the default at the end of the description instead of in the option's name.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(32); }

  // One blank line between groups.
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override {
    const std::string text = CLI::Formatter::make_help(app, std::move(name), mode);
    return CLI::detail::find_and_replace(text, "\n\n\n", "\n\n");
  }

  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_type_size() == 0 ? "" : " " + option->get_type_name();
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    const std::string value = option->get_default_str();
    return option->get_description() + (value.empty() ? "" : " [" + value + "]");
  }
};

CLI::Validator not_empty() {
  return {[](std::string& text) { return text.empty() ? "the name is empty" : ""; }, ""};
}

// CLI11 would read -1 as 2^64 - 1.
CLI::Validator not_negative() {
  return {[](std::string& text) {
            return text.rfind('-', 0) == 0 ? fmt::format("expected at least 0, got {}", text) : "";
          },
          ""};
}

// The options whose being given matters, not only their value.
struct GivenOptions {
  CLI::Option* steps = nullptr;
  CLI::Option* epochs = nullptr;
  CLI::Option* learning_rate = nullptr;
  CLI::Option* momentum = nullptr;
};

void add_data_options(CLI::App& app, TrainConfig& c) {
  const char* group = "Network and data";
  app.add_option("--model", c.model, "network: alexnet")->type_name("NAME")->group(group);
  app.add_option("--data", c.data,
                 "auto (CIFAR-10, else synthetic), cifar10 or\nsynthetic; the report says which")
      ->type_name("NAME")
      ->group(group);
  app.add_option("--data-dir", c.data_dir,
                 "folder of CIFAR-10's binary files (default: $CIFAR10_DIR,\n"
                 "else the cache folder, else a download)")
      ->check(not_empty())
      ->type_name("DIR")
      ->default_str("")
      ->group(group);
  app.add_option("--image-size", c.image_size, "images are resized to N x N, at least 63")
      ->type_name("N")
      ->group(group);
  app.add_option("--max-train-samples", c.max_train_samples,
                 "the first N training images only; 0 for all")
      ->type_name("N")
      ->group(group);
  app.add_option("--max-test-samples", c.max_test_samples,
                 "the first N test images only; 0 for all")
      ->type_name("N")
      ->group(group);
  app.add_flag("--random-crop", c.random_crop, "augment: crop anywhere, not in the centre")
      ->group(group);
  app.add_flag("--random-flip", c.random_flip, "augment: mirror every second image, by chance")
      ->group(group);
}

void add_pipeline_options(CLI::App& app, TrainConfig& c) {
  const char* group = "Pipeline";
  app.add_option("-p,--stages,--pipeline-parallel-size", c.stages,
                 "K, stages that work at the same time; 0 is the plain\nloop without a pipeline")
      ->type_name("K")
      ->group(group);
  app.add_option("--schedule", c.schedule, enumerate(schedule_names()))
      ->type_name("NAME")
      ->group(group);
  app.add_option("--micro-batches", c.micro_batches, "M, micro-batches in a step")
      ->type_name("M")
      ->group(group);
  app.add_option("--micro-batch-size", c.micro_batch_size,
                 "images in a micro-batch; a step trains M x B images")
      ->type_name("B")
      ->group(group);
  app.add_option("--partition", c.partition,
                 "how layers are shared out: by measured time, uniform,\n"
                 "by parameters, or the first layers of the later stages: 3,10")
      ->type_name("HOW")
      ->group(group);
  app.add_option("--threads", c.threads, "compute threads of each stage; 0: cores / stages")
      ->type_name("T")
      ->group(group);
}

void add_training_options(CLI::App& app, TrainConfig& c, GivenOptions& given) {
  const char* group = "Training";
  given.steps = app.add_option("-s,--steps", c.steps,
                               fmt::format("training steps [{}, unless --epochs]", kDefaultSteps));
  given.steps->type_name("N")->default_str("")->group(group);
  given.epochs = app.add_option("--epochs", c.epochs, "passes over the training images, instead");
  given.epochs->type_name("N")->default_str("")->group(group);
  app.add_option("--eval-every", c.eval_every, "test accuracy every N steps; 0: never")
      ->type_name("N")
      ->group(group);
  app.add_option("--optimizer", c.optimizer, "sgd or adam")->type_name("NAME")->group(group);
  given.learning_rate = app.add_option(
      "--lr,--learning-rate", c.learning_rate,
      fmt::format("learning rate [sgd: {}, adam: {}]", kSgdLearningRate, kAdamLearningRate));
  given.learning_rate->type_name("X")->default_str("")->group(group);
  given.momentum = app.add_option("--momentum", c.momentum, "of sgd, below 1");
  given.momentum->type_name("X")->group(group);
  app.add_option("--weight-decay", c.weight_decay, "added to the gradients: X * weight")
      ->type_name("X")
      ->group(group);
  app.add_option("--dropout", c.dropout, "chance that a value is dropped, below 1")
      ->type_name("P")
      ->group(group);
  app.add_option("--seed", c.seed, "of weights, order, augmentation, dropout")
      ->check(not_negative())
      ->type_name("S")
      ->group(group);
}

void add_file_options(CLI::App& app, TrainConfig& c) {
  const auto add = [&app](const char* name, std::filesystem::path& file, const char* text) {
    app.add_option(name, file, text)
        ->check(not_empty())
        ->type_name("FILE")
        ->default_str("")
        ->group("Files and output");
  };
  add("--init", c.init, "weights to begin with (safetensors, torchvision's names)");
  add("--save", c.save, "weights at the end (safetensors, torchvision's names)");
  add("--metrics", c.metrics, "a line of JSON for every step");
  add("--report", c.report, "the report as JSON");
  add("--trace", c.trace, "what each stage did when, for ui.perfetto.dev");
  add("--svg", c.svg, "picture of the measured and the predicted timeline");
  app.add_flag("--quiet", c.quiet, "no progress and no notes; warnings remain")
      ->group("Files and output");
}

void check_given(const CommandLine& line, const GivenOptions& given) {
  const auto at_least_one = [](const char* option, std::int64_t value) {
    if (value >= 1) return;
    throw UsageError("stagecoach train", fmt::format("{} of at least 1", option),
                     fmt::format("{}", value));
  };
  if (given.steps->count() > 0) at_least_one("--steps", line.train.steps);
  if (given.epochs->count() > 0) at_least_one("--epochs", line.train.epochs);
  if (given.momentum->count() > 0 && line.train.optimizer == "adam") {
    throw UsageError("stagecoach train", "--momentum with --optimizer sgd only",
                     "--momentum with adam",
                     "Adam has averages of its own, with fixed rates of 0.9 and 0.999");
  }
}

// Defaults that depend on other options.
void resolve(TrainConfig& config, const GivenOptions& given) {
  if (given.steps->count() == 0 && given.epochs->count() == 0) config.steps = kDefaultSteps;
  if (given.learning_rate->count() == 0) {
    config.learning_rate = config.optimizer == "adam" ? kAdamLearningRate : kSgdLearningRate;
  }
}

// What CLI11 did not understand, in this program's words.
[[noreturn]] void rethrow(const CLI::ParseError& error, const CLI::App& app,
                          const CLI::App& command) {
  const bool in_command = command.parsed();
  const std::string operation = in_command ? "stagecoach " + command.get_name() : "stagecoach";
  const std::vector<std::string> unknown = app.remaining(true);
  if (unknown.empty()) {
    const std::string text = error.what();
    const std::string prefix = "Could not convert: ";
    if (text.rfind(prefix, 0) == 0) {
      throw UsageError(operation, "a number of the option's kind and size",
                       text.substr(prefix.size()));
    }
    throw UsageError(operation, "one good value for each option", text);
  }
  const std::string& word = unknown.front();
  if (!in_command && word.rfind('-', 0) != 0) {
    throw UsageError(operation, "a command: train or info", fmt::format("'{}'", word),
                     did_you_mean(word, {"train", "info"}));
  }
  std::vector<std::string> names;
  for (const CLI::Option* option : (in_command ? command : app).get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  const std::string hint = did_you_mean(word.substr(0, word.find('=')), names);
  const char* see = "see --help; options of train stand behind the word train";
  throw UsageError(operation, "a known option", fmt::format("'{}'", word),
                   !hint.empty() ? hint
                   : in_command  ? fmt::format("see {} --help", operation)
                                 : see);
}

}  // namespace

CommandLine parse_command_line(int argc, const char* const* argv) {
  CommandLine line;
  GivenOptions given;
  CLI::App app(
      "Trains a network whose layers are split over pipeline stages, and shows what the "
      "pipeline did.",
      "stagecoach");
  app.formatter(std::make_shared<HelpFormatter>());
  app.option_defaults()->always_capture_default();
  app.set_help_flag("-h,--help", "this help; after a command, that command's");
  app.set_version_flag("--version", "stagecoach " STAGECOACH_VERSION, "the version");
  app.footer(kFooter);

  CLI::App& train = *app.add_subcommand("train", "train a network as a pipeline of stages");
  train.set_help_flag("-h,--help", "this help");
  train.footer(kTrainFooter);
  add_data_options(train, line.train);
  add_pipeline_options(train, line.train);
  add_training_options(train, line.train, given);
  add_file_options(train, line.train);
  CLI::App& info = *app.add_subcommand("info", "devices, library versions, what this build can do");
  info.set_help_flag("-h,--help", "this help");

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    line.exit_code = app.exit(help_or_version);
    return line;
  } catch (const CLI::ParseError& error) {
    rethrow(error, app, info.parsed() ? info : train);
  }
  if (train.parsed() && info.parsed()) {
    throw UsageError("stagecoach", "one command", "train and info");
  }
  if (info.parsed()) line.command = Command::kInfo;
  if (train.parsed()) {
    line.command = Command::kTrain;
    check_given(line, given);
    resolve(line.train, given);
    validate(line.train);
  }
  if (line.command == Command::kNone) {
    throw UsageError("stagecoach", "a command: train or info", "none",
                     "`stagecoach train` trains with the defaults; --help lists the options");
  }
  return line;
}

}  // namespace stagecoach
