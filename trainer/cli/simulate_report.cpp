#include "trainer/cli/simulate_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "trainer/percent.h"

namespace stagecoach {
namespace {

using nlohmann::json;

constexpr std::size_t kMostRows = 32;  // of ranks; of more, the first and the last

// As many digits behind the point as numbers up to `largest` are worth; none for whole numbers.
class Times {
 public:
  explicit Times(const std::vector<double>& all) {
    double largest = 0;
    bool whole = true;
    for (const double time : all) {
      largest = std::max(largest, std::abs(time));
      whole = whole && std::abs(time - std::round(time)) <= 1e-9 * std::max(1.0, std::abs(time));
    }
    const double digits = largest > 0 ? std::floor(std::log10(largest)) : 0;
    decimals_ = whole ? 0 : static_cast<int>(std::clamp(4 - digits, 1.0, 12.0));
  }
  std::string operator()(double time) const { return fmt::format("{:.{}f}", time, decimals_); }

 private:
  int decimals_ = 0;
};

double sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

// The rest of `whole` that `part` leaves; 0 of nothing.
double rest(double part, double whole) {
  return whole > 0 ? std::max(0.0, 1 - part / whole) : 0;
}

const char* unit(const GivenCosts& costs) {
  return costs.milliseconds ? " ms" : "";
}

json or_null(double value, bool is_there) {
  return is_there ? json(value) : json(nullptr);
}

// One number where all stages have the same.
json column(const std::vector<StageCosts>& stages, double StageCosts::*value) {
  const auto same = [&](const StageCosts& stage) { return stage.*value == stages[0].*value; };
  if (!stages.empty() && std::ranges::all_of(stages, same)) return stages[0].*value;
  json numbers = json::array();
  for (const StageCosts& stage : stages) numbers.push_back(stage.*value);
  return numbers;
}

// With the keys that --costs reads.
json json_of(const SimulationCosts& costs) {
  std::vector<StageCosts> stages = costs.stages;
  for (StageCosts& stage : stages) {
    if (stage.recompute < 0) stage.recompute = stage.forward;
    if (stage.last_weight < 0) stage.last_weight = stage.backward_weight;
  }
  return {{"f", column(stages, &StageCosts::forward)},
          {"b", column(stages, &StageCosts::backward_input)},
          {"w", column(stages, &StageCosts::backward_weight)},
          {"last_w", column(stages, &StageCosts::last_weight)},
          {"r", column(stages, &StageCosts::recompute)},
          {"bytes", column(stages, &StageCosts::slot_bytes)},
          {"message", column(stages, &StageCosts::output_bytes)},
          {"sum", column(stages, &StageCosts::sum)},
          {"hidden", column(stages, &StageCosts::hidden_sum)},
          {"comm", costs.latency},
          {"bandwidth", costs.bandwidth},
          {"group", costs.weight_group}};
}

json json_of_rank(const SimulatedSchedule& run, std::size_t rank) {
  const Simulation& s = run.simulation;
  return {{"rank", rank},
          {"stages", run.stages_of[rank]},
          {"busy", s.busy[rank]},
          {"idle", s.makespan - s.busy[rank]},
          {"bubble", rest(s.busy[rank], s.makespan)},
          {"peak_slots", s.peak_slots[rank]},
          {"peak_bytes", s.peak_bytes[rank]}};
}

// "1 5", of many the first and the last.
std::string list(const std::vector<int>& numbers, const char* separator = " ") {
  if (numbers.size() <= 6) return fmt::format("{}", fmt::join(numbers, separator));
  return fmt::format("{}{}{}{}...{}{}", numbers[0], separator, numbers[1], separator, separator,
                     numbers.back());
}

std::string rank_table(const SimulatedSchedule& run, const GivenCosts& costs) {
  constexpr const char* kRow = "{:>6}  {:<14}{:>12}{:>12}{:>9}{:>12}{}\n";
  const Simulation& s = run.simulation;
  std::vector<double> shown = s.busy;
  for (const double busy : s.busy) shown.push_back(s.makespan - busy);
  const Times time(shown);
  const std::size_t ranks = s.busy.size();
  std::string text = fmt::format(kRow, "rank", "stages", "busy", "idle", "bubble", "peak slots",
                                 costs.bytes ? fmt::format("{:>16}", "peak bytes") : "");
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    if (ranks > kMostRows && rank == kMostRows / 2) {
      rank = ranks - kMostRows / 2;
      text += "   ...\n";
    }
    text += fmt::format(kRow, rank, list(run.stages_of[rank]), time(s.busy[rank]),
                        time(s.makespan - s.busy[rank]), percent(rest(s.busy[rank], s.makespan)),
                        s.peak_slots[rank],
                        costs.bytes ? fmt::format("{:>16.0f}", s.peak_bytes[rank]) : "");
  }
  return text;
}

std::string bubble_block(const SimulatedSchedule& run, const GivenCosts& costs) {
  const Simulation& s = run.simulation;
  const Times time({s.makespan, s.longest_span});
  const double ranks = static_cast<double>(s.busy.size());
  const double mean = sum(s.busy) / ranks, most = *std::ranges::max_element(s.busy);
  std::string text =
      fmt::format("makespan {}{}, bubble {}", time(s.makespan), unit(costs), percent(s.bubble()));
  if (run.formula >= 0) {
    text += fmt::format(", formula {} = {}", run.formula_text, percent(run.formula));
  }
  const auto part = [&](double idle, const char* why) {
    return fmt::format("{:>8}  {}\n", percent(s.makespan > 0 ? idle / s.makespan : 0), why);
  };
  text += fmt::format("\nOf the time of all ranks, {} is idle:\n", percent(s.bubble()));
  text +=
      part(s.makespan - most, "schedule: the pipeline fills, drains, waits for data and messages");
  text += part(most - mean, "imbalance: ranks with less work wait for the one with the most");
  text += fmt::format("longest span {}{}: from a rank's first action to its last; {} of it idle\n",
                      time(s.longest_span), unit(costs), percent(rest(mean, s.longest_span)));
  return text;
}

}  // namespace

json to_json(const SimulatedSchedule& run, const GivenCosts& costs) {
  if (!run.error.empty()) return {{"schedule", run.name}, {"error", run.error}};
  const Simulation& s = run.simulation;
  json ranks = json::array();
  for (std::size_t rank = 0; rank < s.busy.size(); ++rank) {
    ranks.push_back(json_of_rank(run, rank));
  }
  json result = {{"schedule", run.name},
                 {"stages", run.replicas.empty() ? s.busy.size() : run.replicas.size()},
                 {"chunks", run.chunks},
                 {"micro_batches", run.micro_batches},
                 {"costs", json_of(run.costs)},
                 {"unit", costs.milliseconds ? json("ms") : json(nullptr)},
                 {"makespan", s.makespan},
                 {"longest_span", s.longest_span},
                 {"bubble", s.bubble()},
                 {"formula", or_null(run.formula, run.formula >= 0)},
                 {"imbalance", imbalance(s.busy)}};
  if (!run.replicas.empty()) result["replicas"] = run.replicas;
  result["ranks"] = std::move(ranks);
  return result;
}

std::string sizes_text(const SimulatedSchedule& run) {
  const std::string chunks = run.chunks > 1 ? fmt::format(", V = {}", run.chunks) : "";
  if (run.replicas.empty()) {
    return fmt::format("K = {}, M = {}{}", run.stages_of.size(), run.micro_batches, chunks);
  }
  const int most = *std::ranges::max_element(run.replicas);
  return fmt::format("K = {}, replicas {} on {} ranks, M = {} x {}{}", run.replicas.size(),
                     list(run.replicas, ","), run.stages_of.size(), most, run.micro_batches / most,
                     chunks);
}

std::string to_text(const SimulatedSchedule& run, const GivenCosts& costs) {
  std::string text = fmt::format("{}, {}, costs {}{}\n", run.name, sizes_text(run), costs.text,
                                 run.chunks > 1 ? " of each chunk" : "");
  return text + bubble_block(run, costs) + '\n' + rank_table(run, costs);
}

json to_json(const std::vector<SimulatedSchedule>& runs, const SimulateConfig& config,
             const GivenCosts& costs) {
  json schedules = json::array();
  for (const SimulatedSchedule& run : runs) schedules.push_back(to_json(run, costs));
  return {{"stages", config.stages},
          {"micro_batches", config.micro_batches},
          {"schedules", std::move(schedules)}};
}

std::string to_text(const std::vector<SimulatedSchedule>& runs, const SimulateConfig& config,
                    const GivenCosts& costs) {
  constexpr const char* kRow = "{:<{}}{:>3}{:>12}{:>9}{:>9}{:>11}{:>12}{:>12}{:>14}\n";
  std::vector<double> shown;
  std::size_t width = 14;
  for (const SimulatedSchedule& run : runs) {
    shown.insert(shown.end(), {run.simulation.makespan, run.simulation.longest_span});
    width = std::max(width, run.name.size() + 2);
  }
  const Times time(shown);
  std::string text = fmt::format(
      "K = {}, {}M = {}, costs {}\n", config.stages,
      config.replicas.empty() ? "" : fmt::format("replicas {}, ", fmt::join(config.replicas, ",")),
      config.micro_batches, costs.text);
  if (costs.stages.empty()) {
    text +=
        "of a whole rank: where it holds V chunks, each has 1/V of them, so all train the same\n";
  }
  text += '\n';
  text += fmt::format(kRow, "schedule", width, "V", "makespan", "bubble", "formula", "imbalance",
                      "span", "peak slots", costs.bytes ? "peak bytes" : "peak / V");
  for (const SimulatedSchedule& run : runs) {
    if (!run.error.empty()) {
      text += fmt::format("{:<{}}  {}\n", run.name, width, run.error);
      continue;
    }
    const Simulation& s = run.simulation;
    const int slots = *std::ranges::max_element(s.peak_slots);
    const double bytes = *std::ranges::max_element(s.peak_bytes);
    text +=
        fmt::format(kRow, run.name, width, run.chunks, time(s.makespan), percent(s.bubble()),
                    run.formula >= 0 ? percent(run.formula) : "-", percent(imbalance(s.busy)),
                    time(s.longest_span), slots,
                    costs.bytes ? fmt::format("{:.0f}", bytes)
                                : fmt::format("{:.4g}", static_cast<double>(slots) / run.chunks));
  }
  text += fmt::format(
      "\nspan: a rank's longest time from its first action to its last; zero-bubble papers count "
      "by it\npeak slots: of the rank that has most{}\n",
      costs.bytes ? "" : "; / V: in those of a rank that is not cut into chunks");
  return text;
}

}  // namespace stagecoach
