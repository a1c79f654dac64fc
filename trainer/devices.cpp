#include "trainer/devices.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "core/available_cores.h"
#include "core/device_backend.h"
#include "core/error.h"
#include "kernels/target.h"

namespace stagecoach {
namespace {

constexpr const char* kTrain = "stagecoach train";

DeviceChoice choose_cpu(const TrainJob& job) {
  const char* given = job.device.kind == DeviceRequest::Kind::kCpu ? "--device cpu"
                      : job.processes > 1 ? "the CPU, which ranks in several processes train on"
                                          : "the CPU: no GPU is here";
  const auto refuse = [](const std::string& expected, const std::string& got,
                         const char* hint = "leave it out") {
    throw UsageError(kTrain, expected, got, hint);
  };
  if (job.precision.value_or(Precision::kFp32) != Precision::kFp32) {
    throw UsageError(kTrain, "--precision fp32 on the CPU", std::string(name_of(*job.precision)),
                     "tf32 and bf16 need a GPU");
  }
  if (job.eager) refuse("--eager on a GPU", given);
  if (job.tune) refuse("--tune on a GPU", given);
  const char* const unordered = "--fast-nondeterministic on a GPU, or over replicas in processes";
  if (job.fast_nondeterministic && job.replicas == 1) refuse(unordered, given);
  if (job.fast_nondeterministic && job.processes == 1) {
    refuse(unordered, "replicas on threads",
           "leave it out: threads read each other's gradients, and any order costs them the same");
  }
  if (job.fast_nondeterministic && job.zero > 0) {
    refuse("--fast-nondeterministic without --zero", "both",
           "MPI's all-reduce gives every replica all sums: nothing would be sharded");
  }
  DeviceChoice choice;
  choice.target =
      Target(job.threads > 0 ? job.threads : threads_of_rank(job.ranks() * job.replicas));
  choice.target.convolution = job.convolution;
  check_target(choice.target);
  choice.devices.resize(static_cast<std::size_t>(job.ranks()));
  choice.text = "cpu";
  return choice;
}

// Those asked for, or all.
std::vector<int> existing_gpus(std::vector<int> gpus, int count, const std::string& why_none) {
  const std::string text = gpus.empty() ? "cuda" : fmt::format("cuda:{}", fmt::join(gpus, ","));
  if (count == 0) {
    throw UsageError(kTrain, fmt::format("a GPU for --device {}", text), "none: " + why_none,
                     "--device cpu trains without one");
  }
  if (gpus.empty()) {
    gpus.resize(static_cast<std::size_t>(count));
    std::iota(gpus.begin(), gpus.end(), 0);
  }
  for (const int gpu : gpus) {
    if (gpu >= 0 && gpu < count) continue;
    throw UsageError(kTrain, fmt::format("--device with GPUs from 0 to {}", count - 1), text,
                     "`stagecoach info` lists them");
  }
  return gpus;
}

}  // namespace

int threads_of_rank(int ranks) {
  return std::max(1, available_cores() / ranks);
}

DeviceChoice choose_devices(const TrainJob& job) {
  using Kind = DeviceRequest::Kind;
  std::string why_none;
  if (job.processes > 1 && job.device.kind == Kind::kCuda) {
    throw UsageError(
        kTrain, "--device cpu for ranks in several processes", "--device cuda",
        "NCCL is not there yet; --transport threads trains on the GPUs of one process");
  }
  const bool on_cpu = job.device.kind == Kind::kCpu || job.processes > 1;
  const int count = on_cpu ? 0 : device_backend(DeviceType::kCuda).device_count(&why_none);
  if (on_cpu || (job.device.kind == Kind::kAuto && count == 0)) {
    return choose_cpu(job);
  }
  if (job.convolution != Convolution::kAuto) {
    throw UsageError(kTrain, "--convolution on the CPU", "a GPU", "leave it out, or --device cpu");
  }
  if (job.replicas > 1) {
    throw UsageError(kTrain, "--replicas on the CPU", "a GPU", "leave it out, or --device cpu");
  }
  std::vector<int> gpus = existing_gpus(job.device.gpus, count, why_none);
  const auto ranks = static_cast<std::size_t>(job.ranks());
  gpus.resize(std::min(gpus.size(), ranks));
  DeviceChoice choice;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    choice.devices.push_back({DeviceType::kCuda, gpus[rank * gpus.size() / ranks]});
  }
  choice.target = Target(1, choice.devices[0]);
  choice.target.precision = job.precision.value_or(Precision::kBf16);
  choice.target.deterministic = !job.fast_nondeterministic;
  choice.target.tune = job.tune;
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
