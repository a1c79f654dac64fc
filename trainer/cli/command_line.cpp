#include "trainer/cli/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <vector>

#include "core/error.h"
#include "layers/networks.h"
#include "pipeline/schedule/generators.h"
#include "trainer/cli/options.h"
#include "trainer/cli/suggest.h"
#include "trainer/cli/words.h"
#include "trainer/request_sizes.h"

namespace stagecoach {
namespace {

constexpr const char* kTrain = "stagecoach train";
constexpr const char* kFooter = R"(Examples:
  stagecoach train                                       CIFAR-10 at 224 x 224, two stages, 1F1B
  stagecoach train --help                                every option, and what a run measures
  stagecoach simulate --compare gpipe,1f1b,zb-h1,zb-v    schedules on paper, before any training
  stagecoach simulate --ascii                            a schedule's table, drawn
  stagecoach inspect run1                                checkpoints of a run, and whether they are whole
  stagecoach info                                        what this machine and this build can do)";

constexpr const char* kTrainFooter = R"(Examples:
  stagecoach train
      50 steps of AlexNet on CIFAR-10, two stages, 8 micro-batches of 8 images: two minutes.
  stagecoach train --optimizer sgd --lr 0.01 --steps 20
      As most papers begin: SGD with momentum 0.9 and weight decay 0.0005.
  stagecoach train --stages 4 --schedule zb-v --svg timeline.svg
      Eight stages on four ranks under ZB-V, and a picture of the measured timeline below the
      predicted one.
  stagecoach train --data synthetic --stages 0 --save plain.safetensors
      No download, no pipeline. The weights have the same bits as those of any --stages.
  stagecoach train --epochs 1 --eval-every 100 --metrics run.jsonl --report run.json
      A whole epoch, the test accuracy every 100 steps, everything kept for programs to read.
  stagecoach train --epochs 10 --checkpoint-dir run1 --resume
      Begins, and after anything (Ctrl-C, a crash, a job's time limit) goes on where it was.
  stagecoach train --device cuda:0 --micro-batches 4 --micro-batch-size 128
      Both stages on the first GPU, in bf16.

What a run measures, and prints at its end:
  F, B, W   the time of each stage in forward, in the gradient of its input, in that of its weights
  wait      the time in which a stage had nothing to do
  bubble    the idle part of all stages' time: as measured; as predicted by replaying the schedule
            with the measured F, B and W; and by the schedule's formula for equal stages
  memory    what was planned for each stage before the first step, and its measured peak
Losses and weights do not depend on --stages, --schedule, --chunks, --recompute, --partition,
--threads or --eager, nor on --micro-batches, --micro-batch-size and --replicas where their product
and --gradient-groups are the same, to the last bit, whatever processor, compiler or library; on a
GPU they do depend on the device, the precision and the micro-batches. (Batch norm's depend on the
micro-batches everywhere.))";

void add_data_options(CLI::App& app, TrainRequest& c) {
  const Group group(app, "Network and data");
  group
      .add_text("--model", "NAME", "network: " + enumerate(network_names()),
                [&c](const std::string& option, const std::string& name) {
                  check_name(kTrain, option, name, network_names());
                  c.model = name;
                })
      ->default_str(c.model);
  group.add("--data", c.data, "NAME",
            "auto (CIFAR-10, else synthetic), cifar10 or\nsynthetic; the report says which",
            kDataWords);
  group.add("--data-dir", c.data_dir, "DIR",
            "folder of CIFAR-10's binary files (default: $CIFAR10_DIR,\n"
            "else the cache folder, else a download)");
  group.add("--image-size", c.image_size, "N", "images are resized to N x N, at least 63");
  group.add("--max-train-samples", c.max_train_samples, "N",
            "the first N training images only; 0 for all");
  group.add("--max-test-samples", c.max_test_samples, "N",
            "the first N test images only; 0 for all");
  group.add_flag("--random-crop", c.random_crop, "augment: crop anywhere, not in the centre");
  group.add_flag("--random-flip", c.random_flip, "augment: mirror every second image, by chance");
  group.add_flag("--fixed-batch", c.fixed_batch,
                 "the first two batches again and again, made once: what a step\n"
                 "costs without the loader's work");
}

void add_pipeline_options(CLI::App& app, TrainRequest& c) {
  const Group group(app, "Pipeline");
  group
      .add("-p,--stages,--pipeline-parallel-size", c.stages, "K",
           "K, stages that work at the same time; 0 is the plain\n"
           "loop without a pipeline")
      ->default_str(fmt::format("{}", kDefaultStages));
  group
      .add_text("--schedule", "NAME",
                enumerate(schedule_names()) +
                    ",\nor a file with a table of your own: text, or PyTorch's .csv;\n"
                    "it says K, M and V itself",
                [&c](const std::string& option, const std::string& name) {
                  if (!names_a_file(name)) check_name(kTrain, option, name, schedule_names());
                  c.schedule = name;
                })
      ->default_str(c.schedule);
  group.add("--micro-batches", c.micro_batches, "M", "M, micro-batches in a step")
      ->default_str(fmt::format("{}", kDefaultMicroBatches));
  group.add("--chunks", c.chunks, "V",
            "V, stages that each of the K holds, for interleaved\n"
            "[the schedule's own: 2 for interleaved, zb-v, dualpipe-v, else 1]");
  group.add("--micro-batch-size", c.micro_batch_size, "B",
            "images in a micro-batch; a step trains M x B x R images");
  group
      .add_text("--replicas", "R",
                "R, a power of two: so many copies of the K stages, each with M\n"
                "micro-batches of its own; their gradients are added in a tree\n"
                "(--gradient-groups). On the CPU, or with a GPU and a process each.\n"
                "2,1: so many of each stage, M for each of the stage that has most\n"
                "(naive, gpipe, 1f1b; on threads)",
                [&c](const std::string& option, const std::string& text) {
                  const bool of_each = text.find(',') != std::string::npos;
                  c.stage_replicas = of_each ? replicas_of(kTrain, text) : std::vector<int>{};
                  c.replicas.reset();
                  if (!of_each) c.replicas = number_of<int>(kTrain, option, text);
                })
      ->default_str("1");
  group
      .add("--zero", c.zero, "N",
           "1: each replica keeps and updates a share of the optimizer's\n"
           "states (ZeRO-1), which saves memory; the same bits")
      ->default_str("0");
  group.add_flag("--overlap", c.overlap,
                 "gradients are summed over replicas while ranks still compute\n"
                 "those of other layers, and on GPUs parameters updated (but\n"
                 "with --clip-grad-norm); the same bits. On GPUs nobody has\n"
                 "measured it yet");
  group.add("--transport", c.transport, "NAME",
            "threads of one process, or mpi: each process that mpirun,\n"
            "mpiexec or srun has started is one stage of one replica, R\n"
            "of them to a stage; auto: mpi where there are several. The\n"
            "same bits",
            kTransportWords);
  group.add("--peer-timeout", c.peer_timeout, "S",
            "of several processes, one that gives no sign of life for S\n"
            "seconds is frozen, and one that computes S seconds longer\n"
            "than any step has taken will not end, which ends all; one\n"
            "that dies is seen at once. All have 10 x S seconds to start");
  group
      .add_text("--partition", "HOW",
                "how layers are shared out: by measured time, uniform,\n"
                "by parameters, or the first layers of the later stages: 3,10",
                [&c](const std::string&, const std::string& text) {
                  c.partition = partition_of(kTrain, text);
                })
      ->default_str(std::string(name_of(c.partition.kind)));
  group
      .add("--recompute", c.recompute, "WHEN",
           "never, except_last or always: F of a micro-batch runs again\n"
           "before its B, instead of keeping what it saves; the same bits\n"
           "in less memory",
           kRecomputeWords)
      ->default_str(std::string(name_of(Recompute::kNever)));
  group.add("--recompute-interval,--activation-checkpoint-interval", c.recompute_interval, "N",
            "N layers again at a time, and only the inputs of these runs are\n"
            "kept: --recompute always; 0: all layers of a stage at once");
}

void add_device_options(CLI::App& app, TrainRequest& c) {
  const Group group(app, "Device");
  group
      .add_text(
          "--device", "NAME",
          "auto (the GPUs where there are any, else the CPU), cpu, cuda, or\n"
          "GPUs by number: cuda:0,1; stages that find no GPU of their\nown share one",
          [&c](const std::string&, const std::string& text) { c.device = device_of(kTrain, text); })
      ->default_str(std::string(word_of(kDeviceWords, c.device.kind)));
  group.add("--precision", c.precision, "NAME",
            "fp32, tf32 or bf16 (with fp32 weights, sums and optimizer);\n"
            "auto: bf16 on a GPU, fp32 on the CPU",
            kPrecisionWords);
  group.add("--convolution", c.convolution, "NAME",
            "CPU: direct, winograd (a quarter of the multiplications of\n"
            "3 x 3 kernels, somewhat more rounding), or auto: by the\n"
            "layer's shape",
            kConvolutionWords);
  group.add("--threads", c.threads, "T", "CPU: compute threads of each stage; 0: cores / stages");
  group.add_flag("--eager", c.eager,
                 "GPU: launch every kernel anew in every step, instead of\nthe captured graph");
  group.add_flag("--tune", c.tune,
                 "GPU: time the convolution algorithms once and keep the choice\n"
                 "in the cache folder; later runs find it there");
  group.add_flag("--fast-nondeterministic", c.fast_nondeterministic,
                 "to compare with. GPU: also algorithms that give other bits\n"
                 "from run to run; replicas in processes: gradients are added\n"
                 "by MPI, or on GPUs by NCCL, in its own order, whose bits no\n"
                 "checksum promises");
}

void add_training_options(CLI::App& app, TrainRequest& c) {
  const Group group(app, "Training");
  group.add("-s,--steps", c.steps, "N",
            fmt::format("training steps [{}, unless --epochs]", kDefaultSteps));
  group.add("--epochs", c.epochs, "N", "passes over the training images, instead");
  group.add("--eval-every", c.eval_every, "N", "test accuracy every N steps; 0: never");
  group.add("--optimizer", c.optimizer, "NAME", "sgd or adam [adam, or sgd with --momentum]",
            kOptimizerWords);
  group.add("--momentum", c.momentum, "X", "of sgd, below 1")
      ->default_str(fmt::format("{}", kDefaultMomentum));
  group.add("--weight-decay", c.weight_decay, "X",
            fmt::format("added to the gradients: X * weight [sgd: {}, adam: {}]",
                        kSgdDefaults.weight_decay, kAdamDefaults.weight_decay));
  group.add("--clip-grad-norm", c.clip_grad_norm, "X",
            "scales the gradients down where their norm, over all weights, is\nabove X; 0: never");
  group.add("--gradient-groups", c.gradient_groups, "G",
            "a power of two: the gradients of so many parts of the batch, each\n"
            "of whole micro-batches, are added two by two; decides the bits,\n"
            "as the batch does [the replicas]");
  group.add("--label-smoothing", c.label_smoothing, "X",
            "share of the targets that goes to all classes, below 1");
  group.add("--init-scheme", c.init_scheme, "NAME",
            "initial weights: torch, as PyTorch's layers; kaiming, of\n"
            "He et al., whose loss begins higher: with --clip-grad-norm",
            kInitSchemeWords);
  group.add("--last-batch", c.last_batch, "NAME",
            "images of an epoch that fill no step: drop, or keep as a\nsmaller batch",
            kLastBatchWords);
  group.add("--dropout", c.dropout, "P", "chance that a value is dropped, below 1");
  group.add("--seed", c.seed, "S", "of weights, order, augmentation, dropout");
  group.add("--max-minutes", c.max_minutes, "X",
            "ends behind the first step after so many minutes, as\nCtrl-C does, but with exit "
            "status 0; 0: no limit");
}

void add_learning_rate_options(CLI::App& app, TrainRequest& c) {
  const Group group(app, "Learning rate");
  group.add("--lr,--learning-rate", c.learning_rate, "X",
            fmt::format("learning rate [sgd: {}, adam: {}]", kSgdDefaults.learning_rate,
                        kAdamDefaults.learning_rate));
  LearningRateRequest& rate = c.learning_rate_schedule;
  group.add("--lr-schedule", rate.kind, "NAME",
            "constant; step: times --lr-gamma every --lr-step-size;\n"
            "milestones: at each of --lr-milestones; cosine: down to\n"
            "--lr-min at the last step",
            kLearningRateWords);
  group
      .add_text("--lr-warmup", "N",
                "the first N steps, or epochs (0.5epochs), climb in a line\nto the rate",
                [&rate](const std::string& option, const std::string& text) {
                  rate.warmup = duration_of(kTrain, option, text);
                })
      ->default_str("0");
  group.add_text("--lr-step-size", "N", "steps, or epochs: 30epochs",
                 [&rate](const std::string& option, const std::string& text) {
                   rate.step_size = duration_of(kTrain, option, text);
                 });
  group.add_text("--lr-milestones", "N,N,...", "steps, or epochs",
                 [&rate](const std::string& option, const std::string& text) {
                   rate.milestones = durations_of(kTrain, option, text);
                 });
  group.add("--lr-gamma", rate.gamma, "X", "of step and milestones")->default_str("0.1");
  group.add("--lr-min", rate.min_rate, "X", "of cosine")->default_str("0");
}

void add_checkpoint_options(CLI::App& app, TrainRequest& c) {
  const Group group(app, "Checkpoints");
  group.add("--checkpoint-dir", c.checkpoint_dir, "DIR",
            "keep all that the run needs to go on with the same bits,\n"
            "now and then, at its end, and when a signal ends it");
  group
      .add_text("--checkpoint-every", "N", "N steps, or a time: 30s, 10min, 2h",
                [&c](const std::string&, const std::string& text) {
                  c.checkpoint_every = interval_of(kTrain, text);
                })
      ->default_str("10min");
  group.add("--keep", c.keep, "N", "the newest N of this run stay")
      ->default_str(fmt::format("{}", kDefaultKeptCheckpoints));
  group.add_flag("--resume", c.resume,
                 "go on from the newest whole one: with any stages, schedule,\n"
                 "cut, micro-batches and threads, the bits of a run that never\n"
                 "stopped; where there is none, begin");
  group.add_flag("--resume-anyway", c.resume_anyway, "also with settings that change the bits");
}

void add_file_options(CLI::App& app, TrainRequest& c) {
  const Group group(app, "Files and output");
  const char* type = "FILE";
  group.add("--init", c.init, type, "weights to begin with (safetensors, torchvision's names)");
  group.add("--save", c.save, type, "weights at the end (safetensors, torchvision's names)");
  group.add("--metrics", c.metrics, type, "a line of JSON for every step");
  group.add("--report", c.report, type, "the report as JSON");
  group.add("--trace", c.trace, type,
            "what each stage did when, for ui.perfetto.dev;\nthe last 100 steps");
  group.add("--svg", c.svg, type, "picture of the measured and the predicted timeline");
  group.add_flag("--quiet", c.quiet, "no progress and no notes; warnings remain");
}

// What CLI11 did not understand, in this program's words.
[[noreturn]] void rethrow(const CLI::ParseError& error, const CLI::App& app,
                          const CLI::App& command) {
  const bool in_command = command.parsed();
  const std::string operation = in_command ? "stagecoach " + command.get_name() : "stagecoach";
  const std::vector<std::string> unknown = app.remaining(true);
  if (unknown.empty()) {
    const std::string text = error.what();
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ArgumentMismatch)) {
      const std::string option = text.substr(0, text.find(':'));  // "--lr: 1 required X missing"
      const bool missing = text.find("missing") != std::string::npos;
      throw UsageError(operation, fmt::format("{} with one value", option),
                       missing ? "none" : "several");
    }
    throw UsageError(operation, "one good value for each option", text);
  }
  const std::string& word = unknown.front();
  if (!in_command && word.rfind('-', 0) != 0) {
    throw UsageError(operation, "a command: train, simulate, inspect or info",
                     fmt::format("'{}'", word),
                     did_you_mean(word, {"train", "simulate", "inspect", "info"}));
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

CommandLine parse_command_line(int argc, const char* const* argv, const LaunchedProcess& process) {
  CommandLine line;
  TrainRequest request;
  request.process = process;
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
  add_data_options(train, request);
  add_pipeline_options(train, request);
  add_device_options(train, request);
  add_training_options(train, request);
  add_learning_rate_options(train, request);
  add_checkpoint_options(train, request);
  add_file_options(train, request);
  CLI::App& simulate =
      *app.add_subcommand("simulate", "replay schedules with given costs; draw and compare them");
  const SimulateOptions simulate_options = add_simulate_options(simulate, line.simulate);
  CLI::App& inspect =
      *app.add_subcommand("inspect",
                          "what a file of weights or a checkpoint holds, and whether "
                          "it is whole");
  inspect.set_help_flag("-h,--help", "this help");
  inspect
      .add_option("PATH", line.inspect,
                  "a safetensors file, a checkpoint, or a folder of checkpoints")
      ->type_name("");
  CLI::App& info = *app.add_subcommand("info", "devices, library versions, what this build can do");
  info.set_help_flag("-h,--help", "this help");

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    line.exit_code = app.exit(help_or_version);
    return line;
  } catch (const CLI::ParseError& error) {
    rethrow(error, app,
            info.parsed()       ? info
            : inspect.parsed()  ? inspect
            : simulate.parsed() ? simulate
                                : train);
  }
  const std::vector<CLI::App*> commands = app.get_subcommands();
  if (commands.size() > 1) {
    throw UsageError("stagecoach", "one command",
                     commands[0]->get_name() + " and " + commands[1]->get_name());
  }
  if (info.parsed()) line.command = Command::kInfo;
  if (inspect.parsed()) {
    line.command = Command::kInspect;
    if (line.inspect.empty()) throw UsageError("stagecoach inspect", "a file or folder", "none");
  }
  if (train.parsed()) {
    line.command = Command::kTrain;
    line.train = resolve(request);
  }
  if (simulate.parsed()) {
    line.command = Command::kSimulate;
    simulate_options.check(line.simulate);
  }
  if (line.command == Command::kNone) {
    throw UsageError("stagecoach", "a command: train, simulate, inspect or info", "none",
                     "`stagecoach train` trains with the defaults; --help lists the options");
  }
  return line;
}

}  // namespace stagecoach
