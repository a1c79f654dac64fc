#include "kernels/cuda/plan_cache.h"

#include <cstdlib>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/input_file.h"
#include "core/json_file.h"
#include "core/log.h"

namespace stagecoach::cuda {
namespace {

namespace fs = std::filesystem;
using Choices = std::map<std::string, EngineChoice>;

constexpr const char* kFormat = "stagecoach cudnn plans 1";

// The choices of `file`; empty where there is none. Throws when it is not what write_choices()
// wrote.
Choices read_choices(const fs::path& file) {
  if (file.empty() || kind_of("plan cache", file) == FileKind::kNone) return {};
  const nlohmann::json json = read_json("plan cache", file);
  STAGECOACH_CHECK(json.at("format") == kFormat, "plan cache", kFormat, json.at("format").dump());
  Choices choices;
  for (const auto& [key, value] : json.at("plans").items()) {
    EngineChoice& choice = choices[key];
    value.at("engine").get_to(choice.engine);
    value.at("knobs").get_to(choice.knobs);
  }
  return choices;
}

Choices read_or_warn(const fs::path& file) {
  try {
    return read_choices(file);
  } catch (const std::exception& error) {  // ours, or the JSON library's
    spdlog::warn("the tuned plans in '{}' are ignored: {}", file.string(), error.what());
    return {};
  }
}

void write_choices(const fs::path& file, const Choices& choices) {
  nlohmann::json json = {{"format", kFormat}, {"plans", nlohmann::json::object()}};
  for (const auto& [key, choice] : choices) {
    json["plans"][key] = {{"engine", choice.engine}, {"knobs", choice.knobs}};
  }
  write_json(file, json, 1);
}

}  // namespace

fs::path plan_cache_file() {
  constexpr const char* kName = "stagecoach/cudnn_plans.json";
  const char* cache = std::getenv("XDG_CACHE_HOME");
  // The XDG Base Directory Specification has relative paths ignored.
  if (cache != nullptr && fs::path(cache).is_absolute()) return fs::path(cache) / kName;
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') return {};
  return fs::path(home) / ".cache" / kName;
}

std::string plan_cache_key(const std::string& cudnn_version, const std::string& device_kind,
                           const ConvProblem& problem) {
  return fmt::format("cuDNN {} | {} | {}", cudnn_version, device_kind, problem.key());
}

PlanCache::PlanCache(fs::path file) : file_(std::move(file)), choices_(read_or_warn(file_)) {}

std::optional<EngineChoice> PlanCache::find(const std::string& key) const {
  const auto found = choices_.find(key);
  if (found == choices_.end()) return std::nullopt;
  return found->second;
}

void PlanCache::store(const std::string& key, const EngineChoice& choice) {
  choices_[key] = choice;
  if (file_.empty()) return;
  try {
    fs::create_directories(file_.parent_path());
    // From reading to writing, so that nobody's choice is overwritten by who has not read it.
    const FileLock lock(file_.string() + ".lock");
    // A damaged file makes place; one that cannot be read may be good.
    if (kind_of("plan cache", file_) != FileKind::kNone) check_readable("plan cache", file_);
    Choices all = read_or_warn(file_);
    all[key] = choice;
    write_choices(file_, all);
  } catch (const std::exception& error) {
    spdlog::warn("the tuned plans are not kept in '{}': {}", file_.string(), error.what());
  }
}

}  // namespace stagecoach::cuda
