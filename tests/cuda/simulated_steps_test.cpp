// Steps that are launched before the one before is finished, where streams can be made slow.
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "core/cuda/runtime.h"
#include "tests/cuda/engine_run.h"

namespace stagecoach {
namespace {

using testing::gpu_config;

// Work of the stream that lasts this long.
void delay(Stream& stream, std::chrono::milliseconds time) {
  cuda::use(stream.device());
  simulated::enqueue(cuda::native_stream(stream), [time] { std::this_thread::sleep_for(time); });
}

class SimulatedSteps : public ::testing::Test {
 protected:
  const Dataset dataset_ = make_synthetic(1, Split::kTrain, 40);
};

TEST_F(SimulatedSteps, TwoGpusGiveTheBitsOfOne) {
  const auto expected = testing::train_steps(gpu_config(0), 9);
  for (const int stages : {2, 4}) {
    for (const char* schedule : {"gpipe", "1f1b", "zb-h1"}) {
      TrainRequest config = gpu_config(stages, Precision::kFp32, DeviceRequest::cuda({0, 1}));
      config.schedule = schedule;
      EXPECT_EQ(testing::train_ahead(config, 9), expected) << stages << schedule;
    }
  }
}

// While a step is slow to begin, the host has launched the next one and wants another batch.
TEST_F(SimulatedSteps, NoBatchIsOverwrittenWhileAStepReadsIt) {
  for (const std::vector<int>& gpus : {std::vector{0}, std::vector{0, 1}}) {
    const TrainRequest config = gpu_config(2, Precision::kFp32, DeviceRequest::cuda(gpus));
    const auto expected = testing::train_steps(config, 8);
    testing::EngineRun run(config);
    const auto loader = testing::batches_for(run, dataset_, config);
    const auto& stages = run.engine.loop().stages();
    int launches = 0;
    const auto losses = testing::run_ahead(run.engine, *loader, 8, [&](const Batch&) {
      delay(stages[++launches % 2]->context().stream(), std::chrono::milliseconds(10));
    });
    EXPECT_EQ(losses, std::vector(expected.losses.begin(), expected.losses.begin() + 8))
        << gpus.size();
    EXPECT_EQ(testing::weights_on_host(run.engine), expected.weights) << gpus.size();
  }
}

TEST_F(SimulatedSteps, AStepWaitsForItsBatch) {
  const TrainRequest config = gpu_config(2);
  testing::EngineRun expected(config), run(config);
  const auto loader = testing::batches_for(expected, dataset_, config);
  Context writer(expected.engine.devices().target);
  std::vector<std::unique_ptr<Batch>> late;
  for (int step = 0; step < 4; ++step) {
    const Batch& batch = *loader->next();
    Batch& copied = *late.emplace_back(std::make_unique<Batch>(
        channels_last(testing::batch_of(config), 3, config.image_size, config.image_size),
        writer.device()));
    copied.count = batch.count;
    writer.stream().wait(*batch.ready);
    delay(writer.stream(), std::chrono::milliseconds(20));
    copy(writer.stream(), copied.images.tensor, batch.images.tensor);
    copy(writer.stream(), copied.labels.tensor, batch.labels.tensor);
    writer.stream().record(copied.ready.emplace());
    const double loss = run.engine.train_batch(copied).loss;
    EXPECT_EQ(loss, expected.engine.train_batch(batch).loss) << step;
  }
}

TEST_F(SimulatedSteps, TheHostDoesNotWaitForALaunchedStep) {
  const TrainRequest config = gpu_config(2);
  testing::EngineRun run(config);
  const auto loader = testing::batches_for(run, dataset_, config);
  testing::run_ahead(run.engine, *loader, 4);
  Stream& stream = run.engine.loop().stages()[0]->context().stream();
  std::promise<void> launched;
  cuda::use(stream.device());
  simulated::enqueue(cuda::native_stream(stream), [goes_on = launched.get_future().share()] {
    goes_on.wait_for(std::chrono::minutes(1));
  });
  Event gone_on;
  stream.record(gone_on);
  run.engine.launch(*loader->take());
  run.engine.launch(*loader->take());
  EXPECT_FALSE(gone_on.reached());
  launched.set_value();
  run.engine.finish();
  EXPECT_TRUE(gone_on.reached());
  run.engine.finish();
}

}  // namespace
}  // namespace stagecoach
