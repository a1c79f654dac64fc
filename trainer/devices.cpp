#include "trainer/devices.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <numeric>

#include "core/device_backend.h"
#include "core/error.h"
#include "kernels/target.h"

namespace stagecoach {
namespace {

constexpr const char* kTrain = "stagecoach train";

DeviceChoice choose_cpu(const TrainConfig& config) {
  if (config.precision != "auto" && config.precision != "fp32") {
    throw UsageError(kTrain, "--precision fp32 on the CPU", config.precision,
                     "tf32 and bf16 need a GPU");
  }
  DeviceChoice choice;
  choice.target = Target(config.threads_per_stage());
  choice.devices.resize(static_cast<std::size_t>(config.ranks()));
  choice.text = "cpu";
  return choice;
}

Precision gpu_precision(const std::string& word) {
  if (word == "fp32") return Precision::kFp32;
  return word == "tf32" ? Precision::kTf32 : Precision::kBf16;
}

// Those asked for, or all.
std::vector<int> existing_gpus(const TrainConfig& config, int count, const std::string& why_none) {
  std::vector<int> gpus = gpu_indices(config.device);
  if (count == 0) {
    throw UsageError(kTrain, fmt::format("a GPU for --device {}", config.device),
                     "none: " + why_none, "--device cpu trains without one");
  }
  if (gpus.empty()) {
    gpus.resize(static_cast<std::size_t>(count));
    std::iota(gpus.begin(), gpus.end(), 0);
  }
  for (const int gpu : gpus) {
    if (gpu < count) continue;
    throw UsageError(kTrain, fmt::format("--device with GPUs from 0 to {}", count - 1),
                     fmt::format("{}", config.device), "`stagecoach info` lists them");
  }
  return gpus;
}

}  // namespace

std::vector<int> gpu_indices(const std::string& text) {
  std::vector<int> indices;
  const std::size_t colon = text.find(':');
  const char* at = text.data() + (colon == std::string::npos ? text.size() : colon + 1);
  const char* end = text.data() + text.size();
  bool good = text.substr(0, colon) == "cuda" && (colon == std::string::npos || at < end);
  while (good && at < end) {
    int index = 0;
    const auto [stop, code] = std::from_chars(at, end, index);
    const bool comma = stop < end && *stop == ',' && stop + 1 < end;
    good = code == std::errc() && *at != '-' && (stop == end || comma) &&
           std::find(indices.begin(), indices.end(), index) == indices.end();
    indices.push_back(index);
    at = comma ? stop + 1 : end;
  }
  if (good) return indices;
  throw UsageError(kTrain, "--device auto, cpu, cuda, or GPUs like cuda:0,1, each once",
                   fmt::format("'{}'", text));
}

DeviceChoice choose_devices(const TrainConfig& config) {
  std::string why_none;
  const int count =
      config.device == "cpu" ? 0 : device_backend(DeviceType::kCuda).device_count(&why_none);
  const bool on_cpu = config.device == "cpu" || (config.device == "auto" && count == 0);
  if (on_cpu) return choose_cpu(config);

  TrainConfig wanted = config;
  if (wanted.device == "auto") wanted.device = "cuda";
  std::vector<int> gpus = existing_gpus(wanted, count, why_none);
  const auto ranks = static_cast<std::size_t>(config.ranks());
  gpus.resize(std::min(gpus.size(), ranks));
  DeviceChoice choice;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    choice.devices.push_back({DeviceType::kCuda, gpus[rank * gpus.size() / ranks]});
  }
  choice.target = Target(1, choice.devices[0]);
  choice.target.precision = gpu_precision(config.precision);
  choice.target.deterministic = !config.fast_nondeterministic;
  choice.target.tune = config.tune;
  for (const Device& device : choice.devices) {
    Target target = choice.target;
    target.device = device;
    check_target(target);
  }
  choice.text = fmt::format("cuda:{} ({})", fmt::join(gpus, ","),
                            device_backend(choice.devices[0]).device_info(choice.devices[0]).name);
  return choice;
}

}  // namespace stagecoach
