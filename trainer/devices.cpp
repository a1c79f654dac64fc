#include "trainer/devices.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "comm/collectives.h"
#include "comm/launched_process.h"
#include "comm/message.h"
#include "core/available_cores.h"
#include "core/device_backend.h"
#include "core/error.h"
#include "kernels/target.h"
#include "pipeline/schedule/placement.h"

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
  if (job.overlap && job.replicas * Placement(job.schedule).groups() == 1)
    refuse("--overlap on a GPU, or with several replicas", given);
  const char* const unordered = "--fast-nondeterministic on a GPU, or over replicas in processes";
  if (job.fast_nondeterministic && job.replicas == 1) refuse(unordered, given);
  if (job.fast_nondeterministic && job.processes == 1) {
    refuse(unordered, "replicas on threads",
           "leave it out: threads read each other's gradients, and any order costs them the same");
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

// Those of a machine have one each, in their order; or the launcher has shown each its own alone.
int gpu_of_process(const std::vector<int>& gpus, World& world) {
  const std::string machine = machine_name();
  MessageWriter own;
  own.put(machine);
  std::size_t before = 0, here = 0;
  const std::vector<ByteVector> all = all_gather(world, own.bytes());
  for (std::size_t process = 0; process < all.size(); ++process) {
    if (MessageReader(all[process]).get<std::string>() != machine) continue;
    ++here;
    if (static_cast<int>(process) < world.rank()) ++before;
  }
  if (gpus.size() == 1) return gpus.front();
  if (gpus.size() >= here) return gpus[before];
  throw UsageError(
      kTrain, fmt::format("a GPU for each of {} processes on {}", here, host_name()),
      fmt::format("{}", gpus.size()),
      "start fewer processes there, or --transport threads for several ranks on a GPU");
}

}  // namespace

int threads_of_rank(int ranks) {
  return std::max(1, available_cores() / ranks);
}

DeviceChoice choose_devices(const TrainJob& job) {
  using Kind = DeviceRequest::Kind;
  std::string why_none;
  const bool alone = job.processes == 1;
  if (job.fast_nondeterministic && job.zero > 0 && !alone) {
    throw UsageError(kTrain, "--fast-nondeterministic without --zero", "both",
                     "an all-reduce gives every replica all sums: nothing would be sharded");
  }
  const bool on_cpu = job.device.kind == Kind::kCpu || (!alone && job.device.kind != Kind::kCuda);
  const int count = on_cpu ? 0 : device_backend(DeviceType::kCuda).device_count(&why_none);
  if (on_cpu || (job.device.kind == Kind::kAuto && count == 0)) {
    return choose_cpu(job);
  }
  if (job.convolution != Convolution::kAuto) {
    throw UsageError(kTrain, "--convolution on the CPU", "a GPU", "leave it out, or --device cpu");
  }
  if (job.replicas > 1 && alone) {
    throw UsageError(kTrain, "--replicas on the CPU, or in processes of their own", "a GPU",
                     "leave it out, or --device cpu, or one process for each rank of each replica");
  }
  std::vector<int> gpus = existing_gpus(job.device.gpus, count, why_none);
  if (!alone) gpus = {gpu_of_process(gpus, *job.world)};
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
  choice.gpu = device_backend(choice.devices[0]).device_info(choice.devices[0]).name;
  choice.text =
      fmt::format("{} ({})",
                  alone ? fmt::format("cuda:{}", fmt::join(gpus, ","))
                        : fmt::format("cuda, a GPU for each of {} processes", job.processes),
                  choice.gpu);
  return choice;
}

}  // namespace stagecoach
