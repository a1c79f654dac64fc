#include "trainer/cli/simulate_costs.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/input_file.h"
#include "core/json_file.h"
#include "trainer/cli/suggest.h"

namespace stagecoach {
namespace {

using nlohmann::json;

constexpr const char* kSimulate = "stagecoach simulate";
constexpr int kMostMicroBatches = 1'000'000;

struct StageKey {
  const char* name;
  double StageCosts::*value;
};
constexpr StageKey kStageKeys[] = {{"f", &StageCosts::forward},
                                   {"b", &StageCosts::backward_input},
                                   {"w", &StageCosts::backward_weight},
                                   {"last_w", &StageCosts::last_weight},
                                   {"r", &StageCosts::recompute},
                                   {"bytes", &StageCosts::slot_bytes},
                                   {"message", &StageCosts::output_bytes},
                                   {"sum", &StageCosts::sum},
                                   {"hidden", &StageCosts::hidden_sum}};
struct LinkKey {
  const char* name;
  double GivenCosts::*value;
};
constexpr LinkKey kLinkKeys[] = {{"comm", &GivenCosts::latency},
                                 {"bandwidth", &GivenCosts::bandwidth},
                                 {"group", &GivenCosts::group}};

std::vector<std::string> key_names(bool links) {
  std::vector<std::string> names;
  for (const StageKey& key : kStageKeys) names.emplace_back(key.name);
  for (const LinkKey& key : kLinkKeys) {
    if (links) names.emplace_back(key.name);
  }
  return names;
}

template <typename Keys>
auto value_of(const Keys& keys, const std::string& name) {
  const auto found = std::ranges::find_if(keys, [&](const auto& key) { return name == key.name; });
  return found == std::end(keys) ? nullptr : found->value;
}

// Errors of a command line are usage, those of a file are not; both name the place.
[[noreturn]] void fail(const std::string& file, const std::string& expected, const std::string& got,
                       const std::string& hint = "") {
  if (file.empty()) throw UsageError(kSimulate, "--costs with " + expected, got, hint);
  throw Error(kSimulate, fmt::format("{} in the costs of '{}'", expected, file), got, hint);
}

double checked(const std::string& file, const std::string& key, double value) {
  if (key == "group" && (value > kMostMicroBatches || value != std::floor(value))) {
    fail(file, fmt::format("a whole number of at most {} for group", kMostMicroBatches),
         fmt::format("{}", value));
  }
  if (std::isfinite(value) && value >= 0) return value;
  fail(file, fmt::format("{} of at least 0", key), fmt::format("{}", value));
}

[[noreturn]] void fail_key(const std::string& file, const std::string& key, bool links) {
  const std::vector<std::string> names = key_names(links);
  fail(file, "the keys " + enumerate(names), fmt::format("'{}'", key), did_you_mean(key, names));
}

// "f=1,b=2".
GivenCosts costs_of_keys(const std::string& text) {
  GivenCosts costs;
  costs.text = text;
  std::vector<std::string> seen;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::string part = text.substr(at, end - at);
    at = end + 1;
    const std::size_t equals = part.find('=');
    const std::string key = part.substr(0, equals);
    double value = 0;
    const std::string number = equals == std::string::npos ? "" : part.substr(equals + 1);
    const auto stage_value = value_of(kStageKeys, key);
    const auto link_value = value_of(kLinkKeys, key);
    if (equals == std::string::npos) {
      fail("", "numbers like f=1,b=1,w=1,comm=0, or a file that exists", fmt::format("'{}'", text));
    }
    if (stage_value == nullptr && link_value == nullptr) fail_key("", key, true);
    const auto [stop, code] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (number.empty() || stop != number.data() + number.size() || code != std::errc()) {
      fail("", fmt::format("a number after {}=", key), fmt::format("'{}'", number));
    }
    if (std::ranges::find(seen, key) != seen.end()) fail("", key + " once", "it twice");
    seen.push_back(key);
    checked("", key, value);
    if (stage_value != nullptr) costs.all.*stage_value = value;
    if (link_value != nullptr) costs.*link_value = value;
    costs.bytes = costs.bytes || key == "bytes";
  }
  return costs;
}

class CostsFile {
 public:
  explicit CostsFile(const std::string& name) : file_(name) { costs_.text = name; }

  GivenCosts read() {
    const json content = read_json(kSimulate, file_);
    if (content.is_array()) {
      read_array(content);
    } else if (!content.is_object()) {
      fail(file_, "an object or an array", content.type_name());
    } else if (content.contains("micro_batches") && content.contains("stages")) {
      read_report(content);
    } else {
      read_object(content);
    }
    return std::move(costs_);
  }

 private:
  double number(const json& value, const std::string& key) const {
    if (!value.is_number()) fail(file_, fmt::format("a number for {}", key), shortened(value));
    return checked(file_, key, value.get<double>());
  }

  // An object for each stage. What an object leaves out is 1, as on the command line.
  void read_array(const json& stages) {
    if (!stages.is_array() || stages.empty()) {
      fail(file_, "an array with an object for each stage", shortened(stages));
    }
    for (std::size_t i = 0; i < stages.size(); ++i) {
      const std::string name = fmt::format("stage {}", i);
      if (!stages[i].is_object()) fail(file_, "an object for " + name, shortened(stages[i]));
      StageCosts costs = costs_.all;
      for (const auto& [key, value] : stages[i].items()) {
        const auto member = value_of(kStageKeys, key);
        if (member == nullptr) fail_key(file_, key, false);
        costs.*member = number(value, fmt::format("{} of {}", key, name));
        costs_.bytes = costs_.bytes || key == "bytes";
      }
      costs_.stages.push_back(costs);
    }
  }

  // Numbers for all stages first; arrays then have one for each.
  void read_object(const json& object) {
    for (const auto& [key, value] : object.items()) {
      if (key == "stages" || value.is_array()) continue;
      const auto stage_value = value_of(kStageKeys, key);
      const auto link_value = value_of(kLinkKeys, key);
      if (stage_value != nullptr) {
        costs_.all.*stage_value = number(value, key);
      } else if (link_value != nullptr) {
        costs_.*link_value = number(value, key);
      } else {
        fail_key(file_, key, true);
      }
      costs_.bytes = costs_.bytes || key == "bytes";
    }
    if (object.contains("stages")) read_array(object["stages"]);
    for (const auto& [key, value] : object.items()) {
      if (key != "stages" && value.is_array()) read_column(key, value);
    }
  }

  void read_column(const std::string& key, const json& values) {
    const auto member = value_of(kStageKeys, key);
    if (member == nullptr) {
      if (value_of(kLinkKeys, key) != nullptr)
        fail(file_, "one number for " + key, shortened(values));
      fail_key(file_, key, true);
    }
    if (costs_.stages.empty()) costs_.stages.assign(values.size(), costs_.all);
    if (values.empty() || values.size() != costs_.stages.size()) {
      fail(file_,
           fmt::format("{} numbers for {}, one for each stage",
                       std::max<std::size_t>(costs_.stages.size(), 1), key),
           fmt::format("{}", values.size()));
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
      costs_.stages[i].*member = number(values[i], fmt::format("{} of stage {}", key, i));
    }
    costs_.bytes = costs_.bytes || key == "bytes";
  }

  // Seconds of a step there, milliseconds of a micro-batch here.
  void read_report(const json& report) {
    const json& micro_batches = report["micro_batches"];
    const json& stages = report["stages"];
    if (!micro_batches.is_number_integer() || micro_batches < 1 ||
        micro_batches > kMostMicroBatches) {
      fail(file_, "micro_batches of at least 1", shortened(micro_batches));
    }
    if (!stages.is_array() || stages.empty()) fail(file_, "stages of a report", shortened(stages));
    costs_.micro_batches = micro_batches.get<int>();
    costs_.milliseconds = true;
    read_run(report);
    for (std::size_t i = 0; i < stages.size(); ++i) {
      costs_.stages.push_back(stage_of_report(stages[i], fmt::format("stage {}", i)));
    }
  }

  StageCosts stage_of_report(const json& stage, const std::string& name) const {
    const double micro_batches = costs_.micro_batches;
    const auto read = [&](const std::string& key) {
      if (!stage.is_object() || !stage.contains(key)) {
        fail(file_, fmt::format("{} of {}, as in a report of train", key, name), "none");
      }
      return number(stage[key], fmt::format("{} of {}", key, name));
    };
    const double weights = 1e3 * read("backward_weight_seconds");
    StageCosts costs;
    costs.forward = 1e3 * read("forward_seconds") / micro_batches;
    costs.backward_input = 1e3 * read("backward_input_seconds") / micro_batches;
    costs.backward_weight = weights / micro_batches;
    // What follows is not in reports of older versions.
    if (stage.contains("last_weight_seconds")) {
      const double ends = costs_.group > 0 ? micro_batches / costs_.group : 1;
      costs.last_weight = 1e3 * read("last_weight_seconds");
      if (ends < micro_batches) {
        costs.backward_weight =
            std::max(0.0, weights - ends * costs.last_weight) / (micro_batches - ends);
      }
    }
    if (stage.contains("reduce_seconds")) costs.sum = 1e3 * read("reduce_seconds");
    if (stage.contains("reduce_beside_weight_seconds")) {
      // Medians, each of its own.
      costs.hidden_sum = std::min(costs.sum, 1e3 * read("reduce_beside_weight_seconds"));
    }
    if (stage.contains("message_bytes")) costs.output_bytes = read("message_bytes");
    return costs;
  }

  // How micro-batches are grouped, and the messages of a run in processes.
  void read_run(const json& report) {
    if (report.contains("gradient_groups") && report.contains("replicas")) {
      const double groups = number(report["gradient_groups"], "gradient_groups"),
                   replicas = number(report["replicas"], "replicas");
      const double group = groups > 0 ? costs_.micro_batches * replicas / groups : 0;
      if (group < 1 || group != std::floor(group)) {
        fail(file_, "gradient_groups that divide the micro-batches of all replicas",
             shortened(report["gradient_groups"]));
      }
      if (groups > replicas) costs_.group = group;
    }
    if (!report.contains("transport") || report["transport"].is_null()) return;
    const auto read = [&](const char* key) {
      const json& transport = report["transport"];
      if (!transport.is_object() || !transport.contains(key)) {
        fail(file_, fmt::format("{} of transport, as in a report of train", key), "none");
      }
      return number(transport[key], key);
    };
    costs_.latency = 1e3 * read("latency_seconds");
    costs_.bandwidth = 1e-3 * read("bytes_per_second");
  }

  std::string file_;
  GivenCosts costs_;
};

}  // namespace

SimulationCosts GivenCosts::of_stages(int count, double share) const {
  SimulationCosts costs{stages, latency, bandwidth, static_cast<int>(group)};
  if (stages.empty()) {
    StageCosts one = all;
    for (double* cost : {&one.forward, &one.backward_input, &one.backward_weight, &one.last_weight,
                         &one.recompute, &one.slot_bytes, &one.sum, &one.hidden_sum}) {
      *cost /= share;
    }
    costs.stages.assign(static_cast<std::size_t>(count), one);
  } else if (stages.size() != static_cast<std::size_t>(count)) {
    throw UsageError(kSimulate, fmt::format("costs of {} stages", count),
                     fmt::format("those of {} in '{}'", stages.size(), text),
                     "a schedule has --stages times --chunks of them");
  }
  return costs;
}

GivenCosts read_costs(const std::string& text) {
  const bool is_file = text.ends_with(".json") || text.find('/') != std::string::npos ||
                       (text.find('=') == std::string::npos && !text.empty() &&
                        kind_of(kSimulate, text) != FileKind::kNone);
  return is_file ? CostsFile(text).read() : costs_of_keys(text);
}

}  // namespace stagecoach
