#include "trainer/cli/simulate_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <sstream>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/json_file.h"
#include "pipeline/picture/ascii.h"
#include "pipeline/picture/svg.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/csv.h"
#include "pipeline/schedule/formula.h"
#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/schedule_file.h"
#include "trainer/cli/simulate_costs.h"
#include "trainer/cli/simulate_report.h"
#include "trainer/cli/suggest.h"
#include "trainer/outputs.h"
#include "trainer/request_sizes.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSimulate = "stagecoach simulate";
constexpr int kDefaultRanks = 4, kDefaultMicroBatches = 8;
// K x M x V. Four actions of each make 64 million of 12 bytes.
constexpr double kMostCells = 1 << 24;
constexpr std::size_t kMostBoxes = 20'000, kMostEvents = 1'000'000;
constexpr double kWidestPicture = 16'000;
constexpr std::size_t kMostCharacters = 240, kMostDrawnRanks = 64;

std::vector<std::string> known_names() {
  std::vector<std::string> names = schedule_names();
  names.emplace_back("forward-only");
  return names;
}

bool is_name(const std::string& schedule) {
  const std::vector<std::string> names = known_names();
  return std::ranges::find(names, schedule) != names.end();
}

void check_name(const char* option, const std::string& schedule) {
  if (is_name(schedule) || names_a_file(schedule)) return;
  const std::vector<std::string> names = known_names();
  throw UsageError(kSimulate, fmt::format("{} {}, or a file", option, enumerate(names)),
                   fmt::format("'{}'", schedule), did_you_mean(schedule, names));
}

void check_size(double ranks, double micro_batches, double chunks) {
  const double cells = ranks * micro_batches * chunks;
  if (cells <= kMostCells) return;
  throw UsageError(kSimulate,
                   fmt::format("at most {:.0f} for K x M{}", kMostCells, chunks > 1 ? " x V" : ""),
                   chunks > 1 ? fmt::format("{} x {} x {}", ranks, micro_batches, chunks)
                              : fmt::format("{} x {}", ranks, micro_batches),
                   "--stages is K, --micro-batches M");
}

std::vector<std::vector<int>> stages_of_ranks(const Program& program) {
  std::vector<std::vector<int>> stages;
  for (int rank = 0; rank < program.ranks(); ++rank) {
    const std::span<const int> own = program.stages_of(rank);
    stages.emplace_back(own.begin(), own.end());
  }
  return stages;
}

int most_stages(const Program& program) {
  std::size_t most = 1;
  for (int rank = 0; rank < program.ranks(); ++rank) {
    most = std::max(most, program.stages_of(rank).size());
  }
  return static_cast<int>(most);
}

// Sizes that were given must be those of the file.
void check_sizes_of_file(const SimulateConfig& config, const Program& table) {
  const auto check = [&](const char* option, int given, int of_file) {
    if (given == 0 || given == of_file) return;
    throw UsageError(kSimulate, fmt::format("{} {}, as in {}", option, of_file, table.name()),
                     fmt::format("{}", given), "leave it out: the table says it");
  };
  const int groups = table.placement().groups();
  check("--stages", config.stages, groups > 1 ? table.stages() : table.ranks());
  check("--micro-batches", config.micro_batches, table.micro_batches() / groups);
  check("--chunks", config.chunks, most_stages(table));
}

Program table_from_file(const std::string& file, const SimulateConfig& config,
                        std::vector<std::string>& notes) {
  const Schedule table = read_schedule(file, &notes);
  check_size(1, table.micro_batches, table.stages);
  const Program program = check(table, {.order = WeightOrder::kAny});
  check_sizes_of_file(config, program);
  if (program.sums_in_order()) return program;
  try {
    check(table);
  } catch (const Error& error) {
    notes.push_back("train refuses this table, as it adds gradients in another order: " +
                    error.message());
  }
  return program;
}

// `config` has its K and M.
Program table_of(const std::string& schedule, const SimulateConfig& config,
                 std::vector<std::string>& notes) {
  const Recompute again = config.recompute;
  if (!is_name(schedule)) {
    if (!config.replicas.empty()) {
      throw UsageError(kSimulate, fmt::format("no --replicas with {}", schedule), "them",
                       "the table says on which ranks a stage is");
    }
    const Program table = table_from_file(schedule, config, notes);
    if (again == Recompute::kNever) return table;
    return check(with_recompute(table.schedule(), again), {.order = WeightOrder::kAny});
  }
  const int chunks = config.chunks > 0 ? config.chunks : default_chunks(schedule);
  const double most = config.replicas.empty() ? 1 : *std::ranges::max_element(config.replicas);
  check_size(config.stages, most * config.micro_batches, chunks);
  const Schedule table =
      config.replicas.empty()
          ? make_schedule(schedule, config.stages, config.micro_batches, chunks)
          : make_replicated_schedule(schedule, config.replicas, config.micro_batches);
  return check(again == Recompute::kNever ? table : with_recompute(table, again));
}

// Replicas of each stage, K of them; of one number for all, that many times.
void complete_replicas(SimulateConfig& config) {
  std::vector<int>& replicas = config.replicas;
  if (replicas.empty()) return;
  if (replicas.size() == 1) replicas.assign(static_cast<std::size_t>(config.stages), replicas[0]);
  if (replicas.size() != static_cast<std::size_t>(config.stages)) {
    throw UsageError(kSimulate, fmt::format("--replicas of {} stages, or of all", config.stages),
                     fmt::format("{} numbers", replicas.size()));
  }
  if (config.chunks > 1) {
    throw UsageError(kSimulate, "--replicas or --chunks", "both",
                     "schedules with replicas of their own have one stage on a rank");
  }
}

// What was not given, from the costs.
SimulateConfig with_sizes(SimulateConfig config, const GivenCosts& costs, int chunks) {
  if (config.stages == 0 && config.replicas.size() > 1) {
    config.stages = static_cast<int>(config.replicas.size());
  }
  if (config.stages == 0) {
    config.stages = costs.stages.empty()
                        ? kDefaultRanks
                        : std::max(1, static_cast<int>(costs.stages.size()) / chunks);
  }
  if (config.micro_batches == 0) {
    config.micro_batches = costs.micro_batches > 0 ? costs.micro_batches : kDefaultMicroBatches;
  }
  complete_replicas(config);
  return config;
}

// With a STEP for each stage, where the costs have what comes with it and the table has none.
Program with_sums(const Program& program, const SimulationCosts& costs) {
  if (std::ranges::all_of(costs.stages, [](const StageCosts& stage) { return stage.sum <= 0; }))
    return program;
  return check(with_optimizer_steps(program.schedule()), {.order = WeightOrder::kAny});
}

SimulatedSchedule replayed(const Program& program, SimulationCosts costs, bool keep_actions) {
  SimulatedSchedule run;
  run.name = program.name();
  run.micro_batches = program.micro_batches();
  run.costs = std::move(costs);
  for (int stage = 0; program.placement().groups() > 1 && stage < program.stages(); ++stage) {
    run.replicas.push_back(program.placement().replicas(stage));
  }
  run.stages_of = stages_of_ranks(program);
  run.chunks = most_stages(program);
  run.formula = textbook_bubble(program.schedule());
  run.formula_text = textbook_formula(program.schedule());
  run.simulation =
      simulate(with_sums(program, run.costs), run.costs, BufferLimit::kNone, keep_actions);
  return run;
}

// Boxes of the table that fit in a picture or a trace of `most`.
void check_fits(const char* option, const char* what, const Program& program,
                std::size_t for_each_action, std::size_t most) {
  std::size_t actions = 0;
  for (const auto& rank : program.schedule().ranks) {
    actions += for_each_action * static_cast<std::size_t>(std::ranges::count_if(
                                     rank, [](const Action& a) { return is_compute(a.kind); }));
  }
  if (actions <= most) return;
  const auto micro_batches = static_cast<std::size_t>(program.placement().group_size());
  const std::size_t fitting = micro_batches * most / actions;
  throw UsageError(kSimulate, fmt::format("at most {} {} in --{}", most, what, option),
                   fmt::format("{}", actions),
                   fitting > 0 ? fmt::format("--micro-batches {} would fit", fitting)
                               : "fewer --stages would fit");
}

std::string title_of(const SimulatedSchedule& run, const GivenCosts& costs) {
  return fmt::format("{}, {}, costs {}", run.name, sizes_text(run), costs.text);
}

void write_picture(const fs::path& file, const SimulatedSchedule& run, const GivenCosts& costs) {
  const Timeline timeline = timeline_of(
      run.simulation, fmt::format("{}: bubble {:.1f} %", run.name, 100 * run.simulation.bubble()));
  const PictureOptions options{picture_width(timeline, kWidestPicture),
                               costs.milliseconds ? "time (ms)" : "time", 1};
  const std::string svg = draw_svg({timeline}, title_of(run, costs), options);
  write_file(file, [&](std::ostream& out) { out << svg; });
}

// A unit of the costs is a millisecond of the trace.
void write_trace(const fs::path& file, const Program& program, const SimulatedSchedule& run,
                 const GivenCosts& costs) {
  std::vector<TraceEvent> events = timeline_of(run.simulation, "").events;
  std::vector<TraceCounter> counters = slot_counters(program, run.simulation, run.costs);
  for (TraceEvent& event : events) {
    event.start *= 1e-3;
    event.end *= 1e-3;
  }
  for (TraceCounter& counter : counters) counter.time *= 1e-3;
  write_chrome_trace(file, events, title_of(run, costs), counters);
}

std::string drawing(const SimulatedSchedule& run, const GivenCosts& costs) {
  const AsciiPicture picture = draw_ascii(run.simulation, kMostCharacters, kMostDrawnRanks);
  std::string text = "\n" + picture.text;
  text += fmt::format("a {} is {:.4g}{} of time", picture.scaled ? "character" : "column",
                      picture.column, costs.milliseconds ? " ms" : "");
  if (picture.cut_columns) text += "; only the beginning is shown: --svg has all";
  if (picture.cut_ranks) text += fmt::format("; the first {} ranks", kMostDrawnRanks);
  return text + "\n";
}

SimulateOutcome simulate_one(const SimulateConfig& given, const GivenCosts& costs) {
  check_name("--schedule", given.schedule);
  const bool named = is_name(given.schedule);
  const int chunks = given.chunks > 0 ? given.chunks : named ? default_chunks(given.schedule) : 1;
  const SimulateConfig config = named ? with_sizes(given, costs, chunks) : given;
  std::vector<std::string> notes;
  const Program program = table_of(config.schedule, config, notes);
  if (!config.svg.empty()) check_fits("svg", "boxes", program, 1, kMostBoxes);
  // Its box, and changes of the slots and their bytes.
  if (!config.trace.empty()) check_fits("trace", "events", program, 3, kMostEvents);
  const bool keep_actions = config.ascii || !config.svg.empty() || !config.trace.empty();
  const SimulatedSchedule run = replayed(program, costs.of_stages(program.stages()), keep_actions);
  std::string text = to_text(run, costs);
  for (const std::string& note : notes) text += "note: " + note + "\n";
  if (config.ascii) text += drawing(run, costs);
  const std::string csv = config.csv.empty() ? "" : to_csv(program.schedule());
  Outputs outputs;
  outputs.write(config.svg, [&](const fs::path& file) { write_picture(file, run, costs); });
  outputs.write(config.trace,
                [&](const fs::path& file) { write_trace(file, program, run, costs); });
  outputs.write(config.text, [&](const fs::path& file) {
    write_file(file, [&](std::ostream& out) { out << program.schedule().to_text(); });
  });
  outputs.write(config.csv, [&](const fs::path& file) {
    write_file(file, [&](std::ostream& out) { out << csv; });
  });
  outputs.write(config.json, [&](const fs::path& file) { write_json(file, to_json(run, costs)); });
  return {text, outputs.failures()};
}

// A schedule that cannot have these sizes or costs says why.
SimulatedSchedule compared(const std::string& name, SimulateConfig config,
                           const GivenCosts& costs) {
  if (name != "interleaved") config.chunks = 0;  // the others have a number of their own
  try {
    std::vector<std::string> notes;
    const Program program = table_of(name, config, notes);
    const double share = program.placement().groups() > 1
                             ? 1
                             : program.stages() / static_cast<double>(program.ranks());
    return replayed(program, costs.of_stages(program.stages(), share), false);
  } catch (const UsageError& error) {
    SimulatedSchedule none;
    none.name = name;
    none.error = error.message();
    return none;
  }
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text + ",");
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

SimulateOutcome simulate_several(const SimulateConfig& given, const GivenCosts& costs) {
  const std::vector<std::string> names = split(given.compare);
  for (const std::string& name : names) check_name("--compare", name);
  const SimulateConfig config = with_sizes(given, costs, 1);
  check_size(config.stages, config.micro_batches, 1);
  std::vector<SimulatedSchedule> runs;
  runs.reserve(names.size());
  for (const std::string& name : names) runs.push_back(compared(name, config, costs));
  Outputs outputs;
  outputs.write(config.json,
                [&](const fs::path& file) { write_json(file, to_json(runs, config, costs)); });
  return {to_text(runs, config, costs), outputs.failures()};
}

}  // namespace

SimulateOutcome simulate_command(const SimulateConfig& config) {
  for (const fs::path& file : config.outputs()) {
    if (!file.empty()) check_writable(kSimulate, file);
  }
  const GivenCosts costs = read_costs(config.costs);
  return config.compare.empty() ? simulate_one(config, costs) : simulate_several(config, costs);
}

}  // namespace stagecoach
