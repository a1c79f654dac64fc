// What an engine does with a batch: its shape, one that is not full, the norm of its gradients.
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "pipeline/schedule/text.h"
#include "tests/kernels/checks.h"
#include "tests/trainer/engine_run.h"

namespace stagecoach {
namespace {

using testing::batch_of;
using testing::different_weights;
using testing::EngineRun;
using testing::expect_same;
using testing::small_config;
using testing::small_dataset;
using testing::training_batches;
using testing::weights_of;

void expect_has(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
}

TEST(EngineBatches, TrainsOnBatchesOfItsShapeOnly) {
  EngineRun run(small_config(2));
  const auto loader = training_batches(small_dataset(), small_config(2));
  const auto before = weights_of(run.engine);
  const auto message = [&](const std::function<void(BatchView&)>& change) {
    BatchView batch = *loader->next();
    change(batch);
    try {
      run.engine.train_batch(batch);
    } catch (const Error& error) {
      return error.message();
    }
    return std::string("no error");
  };
  expect_has(message([](BatchView& batch) { batch.count = 0; }), "expected 1 to 8 samples, got 0");
  expect_has(message([](BatchView& batch) { batch.count = 9; }), "expected 1 to 8 samples, got 9");
  expect_has(message([](BatchView& batch) { batch.targets.spec = row_major({7}, DType::kI32); }),
             "expected targets I32 [8], got I32 [7]");
  expect_has(message([](BatchView& batch) { batch.targets.spec.dtype = DType::kF32; }),
             "expected targets I32 [8], got F32 [8]");
  expect_has(message([](BatchView& batch) { batch.targets = {}; }),
             "targets I32 [8], got no memory");
  expect_has(message([](BatchView& batch) {
               batch.inputs.device = {DeviceType::kCuda, 0};
             }),
             "on cpu, got F32 [8, 3, 16, 16] channels_last on cuda:0");
  EXPECT_EQ(different_weights(run.engine, before), "");
  EXPECT_EQ(run.engine.steps(), 0);
}

// The rows behind the samples, whatever they hold, leave no trace: also where they fill whole
// micro-batches.
TEST(EngineBatches, ABatchThatIsNotFullIsAStepOnItsSamples) {
  for (const std::int64_t count : {1, 3, 4, 7}) {
    TrainRequest small = small_config(0);
    small.micro_batches = 1;
    small.micro_batch_size = count;
    for (const int stages : {0, 1, 2, 4}) {
      SCOPED_TRACE(fmt::format("{} samples, {} stages", count, stages));
      const TrainRequest config = small_config(stages);
      EngineRun run(config);
      const auto loader = training_batches(small_dataset(), config);
      BatchView batch = *loader->next();
      batch.count = count;
      const BatchView same{.inputs = rows_of(batch.inputs, 0, count),
                           .targets = rows_of(batch.targets, 0, count),
                           .ready = {}};
      EngineRun alone(small);
      expect_same(run.engine.train_batch(batch), alone.engine.train_batch(same));
      EXPECT_EQ(different_weights(run.engine, weights_of(alone.engine)), "");
    }
  }
}

TEST(EngineBatches, StatisticsOfABatchNeedAFullOne) {
  const Network network("normal", {{"in", conv2d_layer(3, 4, 3)},
                                   {"bn", batch_norm2d_layer(4)},
                                   {"", flatten_layer()},
                                   {"out", linear_layer(4 * 14 * 14, 10)}});
  const TrainRequest config = small_config(0);
  EngineRun run(network, config);
  const auto loader = training_batches(small_dataset(), config);
  BatchView batch = *loader->next();
  batch.count = 5;
  testing::expect_error([&] { run.engine.train_batch(batch); },
                        {"8 samples, as layers have statistics of them", "5"});
}

// The norm is that of all gradients of the step, and clipping changes nothing below it.
TEST(EngineBatches, GradientsAreClippedByTheNormOfAllOfThem) {
  TrainRequest config = small_config(3);
  EngineRun free(config);
  config.clip_grad_norm = 1e9;
  EngineRun measured(config);
  const auto loader = training_batches(small_dataset(), config);
  const Batch& batch = *loader->next();
  EXPECT_FALSE(free.engine.train_batch(batch).gradient_norm.has_value());
  const std::optional<double> norm = measured.engine.train_batch(batch).gradient_norm;
  EXPECT_EQ(different_weights(measured.engine, weights_of(free.engine)), "");
  double squares = 0;
  for (const auto& stage : free.engine.loop().stages()) {
    for (const auto& parameter : stage->parameters()) {
      for (std::int64_t i = 0; i < parameter.grad.elements(); ++i) {
        squares += std::pow(parameter.grad.as<float>()[i], 2.0);
      }
    }
  }
  ASSERT_TRUE(norm.has_value());
  EXPECT_NEAR(*norm, std::sqrt(squares), 1e-12 * *norm);
  config.clip_grad_norm = *norm / 4;
  EngineRun clipped(config);
  EXPECT_EQ(clipped.engine.train_batch(batch).gradient_norm, norm);
  const auto factor = static_cast<float>(*norm / 4 / (*norm + 1e-6));
  const auto& parameter = free.engine.loop().stages().back()->parameters().back();
  const auto& other = clipped.engine.loop().stages().back()->parameters().back();
  for (std::int64_t i = 0; i < parameter.grad.elements(); ++i) {
    EXPECT_EQ(other.grad.as<float>()[i], parameter.grad.as<float>()[i] * factor);
  }
}

// A table may step a stage before another one of its rank, or any other, has its gradients.
TEST(EngineBatches, AnEarlyStepWaitsForTheNormOfAllStages) {
  TrainRequest config = small_config(0);
  config.micro_batches = 2;
  config.clip_grad_norm = 0.5;
  EngineRun plain(config);
  TrainJob job = job_of(config);
  job.pipeline = true;
  job.schedule = schedule_from_text(
      "0F0 0F1 3F0 3BW0 3F1 3BW1 3STEP 0BW0 0BW1 0STEP\n"
      "1F0 2F0 1F1 2F1 2BW0 2BW1 2STEP 1BW0 1BW1 1STEP\n",
      "table");
  const Network network = testing::small_network(static_cast<float>(config.dropout));
  Engine engine(network, job);
  const auto loader = training_batches(small_dataset(), config);
  for (int step = 0; step < 3; ++step) {
    const Batch& batch = *loader->next();
    expect_same(engine.train_batch(batch), plain.engine.train_batch(batch));
  }
  EXPECT_EQ(different_weights(engine, weights_of(plain.engine)), "");
}

TEST(EngineBatches, EvaluationTakesABatchThatIsNotFull) {
  const TrainRequest plain = small_config(0), split = small_config(4);
  EngineRun a(plain), b(split);
  const auto loader = training_batches(small_dataset(), plain);
  Batch batch(channels_last(batch_of(plain), 3, plain.image_size, plain.image_size));
  const Batch& full = *loader->next();
  std::memcpy(batch.images.tensor.data, full.images.tensor.data, full.images.buffer.bytes());
  std::memcpy(batch.labels.tensor.data, full.labels.tensor.data, full.labels.buffer.bytes());
  double sum = 0;
  std::int64_t correct = 0;
  for (std::int64_t count = 1; count <= batch_of(plain); ++count) {
    batch.count = count;
    const BatchResult result = a.engine.eval_batch(batch);
    expect_same(b.engine.eval_batch(batch), result);
    EXPECT_EQ(result.samples, count);
    // One sample more adds its own loss, which is near log(10) before any training.
    EXPECT_NEAR(result.loss - sum, std::log(10.0), 0.5);
    EXPECT_TRUE(result.correct == correct || result.correct == correct + 1);
    sum = result.loss;
    correct = result.correct;
  }
  EXPECT_EQ(a.engine.eval_batch(batch).loss, sum);
}

}  // namespace
}  // namespace stagecoach
