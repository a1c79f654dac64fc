// Several GPUs, none, and too little memory: what the simulated runtime can be made to have.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/device_backend.h"
#include "tests/cuda/engine_run.h"
#include "tests/kernels/checks.h"
#include "tests/simulated_cuda/products.h"
#include "trainer/devices.h"

namespace stagecoach {
namespace {

using testing::expect_error;
using testing::gpu_config;
using testing::train_steps;

class SimulatedDevices : public ::testing::Test {
 protected:
  ~SimulatedDevices() override {
    simulated::set_device_count(2);
    simulated::set_memory_bytes(std::size_t{8} << 30);
    simulated::set_peers_possible(true);
    simulated::library_bytes = 0;
  }
};

std::vector<int> indices_of(const TrainRequest& config) {
  std::vector<int> indices;
  for (const Device& device : choose_devices(job_of(config)).devices)
    indices.push_back(device.index);
  return indices;
}

TEST_F(SimulatedDevices, TwoGpusGiveTheBitsOfOne) {
  for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
    const auto expected = train_steps(gpu_config(0, precision), 5);
    for (const int stages : {2, 4}) {
      for (const char* schedule : {"gpipe", "1f1b", "zb-h1", "zb-v"}) {
        for (const bool eager : {false, true}) {
          TrainRequest config = gpu_config(stages, precision, DeviceRequest::cuda({0, 1}));
          config.schedule = schedule;
          config.eager = eager;
          EXPECT_EQ(train_steps(config, 5), expected)
              << name_of(precision) << stages << schedule << eager;
        }
      }
    }
  }
}

TEST_F(SimulatedDevices, TwoGpusGiveTheBitsOfOneWhereFRunsAgain) {
  const auto expected = train_steps(gpu_config(0), 5);
  TrainRequest config = gpu_config(4, Precision::kFp32, DeviceRequest::cuda({0, 1}));
  config.recompute = Recompute::kAlways;
  EXPECT_EQ(train_steps(config, 5), expected);
  config.recompute_interval = 2;
  EXPECT_EQ(train_steps(config, 5), expected);
}

TEST_F(SimulatedDevices, TwoGpusHoldWhatWasPlanned) {
  testing::EngineRun run(gpu_config(2, Precision::kFp32, DeviceRequest::cuda({0, 1})));
  const Dataset dataset = make_synthetic(1, Split::kTrain, 40);
  const auto loader = testing::batches_for(run, dataset, gpu_config(2));
  run.engine.train_batch(*loader->next());
  for (const auto& stage : run.engine.loop().stages()) {
    EXPECT_EQ(stage->arena().peak_bytes(), stage->arena().plan().bytes());
  }
  const auto& first = *run.engine.loop().stages()[0];
  const auto& second = *run.engine.loop().stages()[1];
  EXPECT_GE(first.memory_plan().received_gradients, 0);
  EXPECT_EQ(first.memory_plan().received_activations, -1);
  EXPECT_GE(second.memory_plan().received_activations, 0);
}

TEST_F(SimulatedDevices, NeighboursReachEachOthersMemory) {
  const long before = simulated::staged_copies();
  for (const int stages : {2, 4}) {
    const TrainRequest config = gpu_config(stages, std::nullopt, DeviceRequest::cuda({0, 1}));
    testing::EngineRun run(config);
    EXPECT_EQ(run.notes.find("cannot reach"), std::string::npos) << run.notes;
    train_steps(run, config, 4);
  }
  EXPECT_EQ(simulated::staged_copies(), before);
}

TEST_F(SimulatedDevices, ItIsSaidWhereTheyCannot) {
  const TrainRequest config = gpu_config(2, std::nullopt, DeviceRequest::cuda({0, 1}));
  simulated::set_peers_possible(false);
  const long before = simulated::staged_copies();
  testing::EngineRun run(config);
  EXPECT_NE(run.notes.find("cuda:0 and cuda:1 cannot reach each other's memory"), std::string::npos)
      << run.notes;
  const auto trained = train_steps(run, config, 4);
  EXPECT_GT(simulated::staged_copies(), before);
  simulated::set_peers_possible(true);
  EXPECT_EQ(train_steps(config, 4), trained);
}

// What the libraries take is gone before it is asked what is free: otherwise a plan passes that
// does not fit, and the library fails later.
TEST_F(SimulatedDevices, TheLibrariesMemoryIsNotPlannedWith) {
  for (const int stages : {0, 2}) {
    const TrainRequest config = gpu_config(stages);
    simulated::library_bytes = 0;
    simulated::set_memory_bytes(std::size_t{128} << 20);
    EXPECT_NO_THROW(testing::EngineRun{config});
    simulated::library_bytes = std::int64_t{48} << 20;
    expect_error([&] { testing::EngineRun run(config); }, {"memory", "has left"});
  }
}

TEST_F(SimulatedDevices, NewMemoryNeedsNoNewStream) {
  const Device gpu{DeviceType::kCuda, 1};
  const Buffer first(100, gpu);
  const long before = simulated::streams_created();
  for (int i = 0; i < 10; ++i) const Buffer another(100, gpu);
  EXPECT_EQ(simulated::streams_created(), before);
}

TEST_F(SimulatedDevices, TheDriverIsToldToMakeAQueueForEachStream) {
  const char* queues = std::getenv("CUDA_DEVICE_MAX_CONNECTIONS");
  ASSERT_NE(queues, nullptr);
  EXPECT_STREQ(queues, "32");
}

TEST_F(SimulatedDevices, RanksAreSharedOutInRuns) {
  simulated::set_device_count(3);
  EXPECT_EQ(indices_of(gpu_config(2, Precision::kFp32, DeviceRequest::cuda())),
            (std::vector<int>{0, 1}));
  EXPECT_EQ(indices_of(gpu_config(6, Precision::kFp32, DeviceRequest{})),
            (std::vector<int>{0, 0, 1, 1, 2, 2}));
  EXPECT_EQ(indices_of(gpu_config(3, Precision::kFp32, DeviceRequest::cuda({2, 0}))),
            (std::vector<int>{2, 2, 0}));
  EXPECT_EQ(indices_of(gpu_config(0, Precision::kFp32, DeviceRequest::cuda({1}))),
            (std::vector<int>{1}));
}

TEST_F(SimulatedDevices, AutoTakesTheGpusOrTheCpu) {
  TrainRequest config = gpu_config(2, std::nullopt, DeviceRequest{});
  EXPECT_EQ(choose_devices(job_of(config)).text, "cuda:0,1 (Simulated GPU)");
  EXPECT_EQ(choose_devices(job_of(config)).target.precision, Precision::kBf16);
  simulated::set_device_count(0);
  EXPECT_EQ(choose_devices(job_of(config)).text, "cpu");
  EXPECT_EQ(choose_devices(job_of(config)).target.precision, Precision::kFp32);
}

TEST_F(SimulatedDevices, WhatOnlyGpusHaveIsRefusedOnTheCpu) {
  const std::pair<bool TrainRequest::*, const char*> options[] = {
      {&TrainRequest::eager, "--eager"},
      {&TrainRequest::tune, "--tune"},
      {&TrainRequest::overlap, "--overlap"},
      {&TrainRequest::fast_nondeterministic, "--fast-nondeterministic"}};
  for (const auto& [option, name] : options) {
    for (const DeviceRequest& device : {DeviceRequest::cpu(), DeviceRequest{}}) {
      TrainRequest config = gpu_config(2, std::nullopt, device);
      config.*option = true;
      simulated::set_device_count(2);
      if (config.device.kind == DeviceRequest::Kind::kAuto) {
        EXPECT_NO_THROW(choose_devices(job_of(config)));
      }
      simulated::set_device_count(0);
      expect_error([&] { choose_devices(job_of(config)); }, {name, "on a GPU"});
    }
  }
}

TEST_F(SimulatedDevices, SaysWhatIsNotThere) {
  expect_error(
      [] {
        choose_devices(job_of(gpu_config(1, Precision::kFp32, DeviceRequest::cuda({0, 5}))));
      },
      {"GPUs from 0 to 1", "cuda:0,5", "stagecoach info"});
  expect_error(
      [] { choose_devices(job_of(gpu_config(1, Precision::kBf16, DeviceRequest::cpu()))); },
      {"--precision fp32", "bf16"});
  simulated::set_device_count(0);
  expect_error([] { choose_devices(job_of(gpu_config(1))); },
               {"a GPU for --device cuda:0", "no NVIDIA driver is installed", "--device cpu"});
  expect_error(
      [] {
        Context context(Target(1, {DeviceType::kCuda, 0}));
      },
      {"cuda:0", "no NVIDIA driver is installed"});
}

TEST_F(SimulatedDevices, SaysWhatWouldFitIntoMemory) {
  simulated::set_memory_bytes(2 << 20);
  TrainRequest config = gpu_config(2);
  config.micro_batch_size = 512;
  config.micro_batches = 1;
  expect_error([&] { testing::EngineRun run(config); },
               {"memory", "cuda:0 has left", "--micro-batch-size", "would fit"});
  simulated::set_memory_bytes(10 << 10);
  expect_error([&] { testing::EngineRun run(config); }, {"not even --micro-batch-size 1"});
}

TEST_F(SimulatedDevices, SaysHowMuchABufferWanted) {
  simulated::set_memory_bytes(1 << 20);
  expect_error(
      [] {
        Buffer buffer(2 << 20, {DeviceType::kCuda, 1});
      },
      {"2097152 bytes of memory on cuda:1", "1048576 bytes that are free"});
}

}  // namespace
}  // namespace stagecoach
