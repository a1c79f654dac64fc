// Training on a GPU: the same bits for every number of stages, schedule and way to launch; close to
// the CPU; and what happens when a loss is not finite.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

#include "tests/cuda/engine_run.h"
#include "tests/kernels/checks.h"
#include "trainer/words.h"

namespace stagecoach {
namespace {

using testing::expect_error;
using testing::gpu_config;
using testing::small_config;
using testing::train_steps;
using testing::Trained;

constexpr int kSteps = 5;  // two of them eager, two captured, one launched again

class EngineShim : public ::testing::TestWithParam<Precision> {};

TEST_P(EngineShim, GivesTheSameBitsTwice) {
  const TrainRequest config = gpu_config(0, GetParam());
  EXPECT_EQ(train_steps(config, kSteps), train_steps(config, kSteps));
}

TEST_P(EngineShim, GivesTheSameBitsForEverySplitAndSchedule) {
  const Trained expected = train_steps(gpu_config(0, GetParam()), kSteps);
  for (const int stages : {1, 2, 4}) {
    for (const char* schedule : {"naive", "gpipe", "1f1b", "interleaved", "zb-h1", "zb-v"}) {
      TrainRequest config = gpu_config(stages, GetParam());
      config.schedule = schedule;
      EXPECT_EQ(train_steps(config, kSteps), expected) << stages << " stages, " << schedule;
    }
  }
}

TEST_P(EngineShim, GivesTheSameBitsWhereFRunsAgain) {
  const Trained expected = train_steps(gpu_config(0, GetParam()), kSteps);
  TrainRequest config = gpu_config(2, GetParam());
  config.recompute = Recompute::kExceptLast;
  EXPECT_EQ(train_steps(config, kSteps), expected);
  config.recompute = Recompute::kAlways;
  EXPECT_EQ(train_steps(config, kSteps), expected);
  config.recompute_interval = 2;
  EXPECT_EQ(train_steps(config, kSteps), expected);
}

// Between a convolution and its ReLU, a ReLU and its pool, a linear layer and its ReLU: what they
// do of each other's work must not depend on the cut.
TEST_P(EngineShim, GivesTheSameBitsForEveryCut) {
  const Trained expected = train_steps(gpu_config(0, GetParam()), kSteps);
  for (int cut = 1; cut < 12; ++cut) {
    TrainRequest config = gpu_config(2, GetParam());
    config.partition = PartitionRequest::at({cut});
    EXPECT_EQ(train_steps(config, kSteps), expected) << "cut at " << cut;
  }
}

TEST_P(EngineShim, GivesTheSameBitsWhereGradientsAreClipped) {
  TrainRequest config = gpu_config(0, GetParam());
  config.clip_grad_norm = 0.5;
  const Trained expected = train_steps(config, kSteps);
  EXPECT_NE(train_steps(gpu_config(0, GetParam()), kSteps), expected);
  for (const int stages : {1, 2, 4}) {
    config.stages = stages;
    EXPECT_EQ(train_steps(config, kSteps), expected) << stages << " stages";
    EXPECT_EQ(testing::train_ahead(config, kSteps), expected) << stages << " stages, ahead";
  }
}

TEST_P(EngineShim, GivesTheSameBitsForGroupsOfGradients) {
  TrainRequest config = gpu_config(0, GetParam());
  config.micro_batches = 4;
  const Trained chain = train_steps(config, kSteps);
  config.gradient_groups = 2;
  const Trained expected = train_steps(config, kSteps);
  // A few gradients of bf16's 8 bits add up exactly in fp32, in any order.
  if (GetParam() != Precision::kBf16) {
    EXPECT_NE(expected, chain);
  }
  for (const int stages : {1, 2, 4}) {
    config.stages = stages;
    EXPECT_EQ(train_steps(config, kSteps), expected) << stages << " stages";
    EXPECT_EQ(testing::train_ahead(config, kSteps), expected) << stages << " stages, ahead";
  }
}

// Between graphs: what a loss divides by is a part of them.
TEST_P(EngineShim, ABatchThatIsNotFullIsAStepOnItsSamples) {
  const auto train = [&](int stages, bool eager) {
    TrainRequest config = gpu_config(stages, GetParam());
    config.eager = eager;
    const Dataset dataset = make_synthetic(1, Split::kTrain, 40);
    testing::EngineRun run(config);
    const auto loader = testing::batches_for(run, dataset, config);
    std::vector<double> losses;
    for (int i = 0; i < 7; ++i) {
      BatchView batch = *loader->next();
      if (i == 2 || i == 5) batch.count = 3;
      losses.push_back(run.engine.train_batch(batch).mean_loss());
    }
    return std::pair(losses, testing::weights_on_host(run.engine));
  };
  const auto expected = train(0, true);
  for (const int stages : {0, 2}) {
    EXPECT_EQ(train(stages, false), expected) << stages << " stages";
  }
}

TEST_P(EngineShim, GraphsGiveTheBitsOfEagerSteps) {
  for (const OptimizerKind optimizer : {OptimizerKind::kSgd, OptimizerKind::kAdam}) {
    TrainRequest config = gpu_config(2, GetParam());
    config.optimizer = optimizer;
    config.learning_rate = 0.01;
    const Trained graph = train_steps(config, kSteps);
    config.eager = true;
    EXPECT_EQ(train_steps(config, kSteps), graph) << word_of(kOptimizerWords, optimizer);
  }
}

TEST_P(EngineShim, TrainsAsTheCpuDoes) {
  const bool bf16 = GetParam() == Precision::kBf16;
  const double bound = bf16 ? 1e-2 : GetParam() == Precision::kTf32 ? 1e-3 : 1e-5;
  TrainRequest on_cpu = small_config(0), on_gpu = gpu_config(0, GetParam());
  on_cpu.device = DeviceRequest::cpu();
  // Steps that a rounding error does not grow in.
  on_cpu.learning_rate = on_gpu.learning_rate = 0.01;
  const Trained cpu = train_steps(on_cpu, kSteps), gpu = train_steps(on_gpu, kSteps);
  for (std::size_t i = 0; i < cpu.losses.size(); ++i) {
    EXPECT_NEAR(gpu.losses[i], cpu.losses[i], bound * cpu.losses[i]) << "step " << i;
  }
  for (const auto& [name, values] : cpu.weights) {
    double difference = 0, sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      difference += std::pow(gpu.weights.at(name)[i] - values[i], 2);
      sum += std::pow(values[i], 2);
    }
    EXPECT_LE(std::sqrt(difference / sum), bound) << name;
  }
}

TEST_P(EngineShim, StepsThatDoNotWaitForTheHostGiveTheSameBits) {
  const Trained expected = train_steps(gpu_config(0, GetParam()), 9);
  for (const int stages : {0, 1, 2, 4}) {
    const TrainRequest config = gpu_config(stages, GetParam());
    EXPECT_EQ(testing::train_ahead(config, 9), expected) << stages << " stages";
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, EngineShim,
                         ::testing::Values(Precision::kFp32, Precision::kTf32, Precision::kBf16),
                         [](const auto& parameter) {
                           return std::string(name_of(parameter.param));
                         });

// The first step that is a graph's, not only an eager one.
TEST(EngineFailureShim, ALossThatIsNotFiniteChangesNoWeight) {
  for (const auto& [stages, precision] :
       {std::pair{0, Precision::kFp32}, {2, Precision::kFp32}, {2, Precision::kBf16}}) {
    const TrainRequest config = gpu_config(stages, precision);
    const Dataset dataset = make_synthetic(1, Split::kTrain, 40);
    testing::EngineRun run(config);
    const auto loader = testing::batches_for(run, dataset, config);
    for (int i = 0; i < 4; ++i) run.engine.train_batch(*loader->next());
    // A weight of the last layer becomes infinite, so the logits do.
    Stage& last = *run.engine.loop().stages().back();
    const Tensor weight = last.parameters().back().value;
    OwnedTensor host = to_host(last.context().stream(), weight);
    host.tensor.as<float>()[0] = std::numeric_limits<float>::infinity();
    copy(last.context().stream(), weight, host.tensor);
    last.flat().refresh_copies();
    last.context().stream().synchronize();
    const auto before = testing::weights_on_host(run.engine);
    try {
      run.engine.train_batch(*loader->next());
      ADD_FAILURE() << "no error";
    } catch (const NumericError& error) {
      EXPECT_NE(error.message().find("training step 5"), std::string::npos) << error.message();
      EXPECT_NE(error.message().find("layer 11, classifier.4"), std::string::npos)
          << error.message();
    }
    EXPECT_EQ(testing::weights_on_host(run.engine), before);
    EXPECT_EQ(run.engine.steps(), 4);
  }
}

class EngineAheadShim : public ::testing::TestWithParam<int> {
 protected:
  // An image becomes infinite.
  void spoil(const Batch& batch) {
    Stream& stream = run_.engine.loop().stages()[0]->context().stream();
    const Tensor image = rows_of(batch.images.tensor, 0, 1);
    const OwnedTensor host(image.spec);
    float* pixels = host.tensor.as<float>();
    std::fill_n(pixels, image.elements(), std::numeric_limits<float>::infinity());
    stream.wait(*batch.ready);
    copy(stream, image, host.tensor);
    stream.synchronize();
  }
  void expect_failure(const std::string& step) {
    try {
      run_.engine.finish();
      ADD_FAILURE() << "no error";
    } catch (const NumericError& error) {
      EXPECT_NE(error.message().find(step), std::string::npos) << error.message();
      EXPECT_NE(error.message().find("layer 0, features.0"), std::string::npos) << error.message();
    }
  }

  const TrainRequest config_ = gpu_config(GetParam());
  const Dataset dataset_ = make_synthetic(1, Split::kTrain, 40);
  testing::EngineRun run_{config_};
  Engine& engine_ = run_.engine;
  const std::unique_ptr<Loader> loader_ = testing::batches_for(run_, dataset_, config_);
};

TEST_P(EngineAheadShim, AFailedStepAndTheOneBehindItChangeNoWeight) {
  testing::run_ahead(engine_, *loader_, 4);
  const auto before = testing::weights_on_host(engine_);
  const Batch& bad = *loader_->take();
  const Batch& good = *loader_->take();
  spoil(bad);
  engine_.launch(bad);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // the flag is up
  engine_.launch(good);
  expect_failure("training step 5");
  EXPECT_EQ(testing::weights_on_host(engine_), before);
  EXPECT_EQ(engine_.steps(), 4);
  // The flag is down again, and nothing is in flight.
  loader_->release();
  loader_->release();
  EXPECT_TRUE(std::isfinite(testing::run_ahead(engine_, *loader_, 3).back()));
  EXPECT_EQ(engine_.steps(), 7);
}

TEST_P(EngineAheadShim, AStepBeforeAFailedOneCounts) {
  testing::run_ahead(engine_, *loader_, 4);
  testing::EngineRun other(config_);
  const auto batches = testing::batches_for(other, dataset_, config_);
  testing::run_ahead(other.engine, *batches, 5);
  const Batch& good = *loader_->take();
  const Batch& bad = *loader_->take();
  spoil(bad);
  engine_.launch(good);
  engine_.launch(bad);
  EXPECT_TRUE(std::isfinite(engine_.finish().loss));
  expect_failure("training step 6");
  EXPECT_EQ(testing::weights_on_host(engine_), testing::weights_on_host(other.engine));
  EXPECT_EQ(engine_.steps(), 5);
}

TEST_P(EngineAheadShim, EvaluationsBetweenChangeNothing) {
  const auto train = [&](const auto& steps) {
    testing::EngineRun run(config_);
    const auto loader = testing::batches_for(run, dataset_, config_);
    std::vector<double> losses;
    for (const int count : {4, 1, 4}) {
      const std::vector<double> some = steps(run.engine, *loader, count);
      losses.insert(losses.end(), some.begin(), some.end());
      losses.push_back(run.engine.eval_batch(*loader->next()).mean_loss());
      loader->release();
    }
    return Trained{losses, testing::weights_on_host(run.engine)};
  };
  const auto ahead = [](Engine& engine, Loader& loader, int count) {
    return testing::run_ahead(engine, loader, count);
  };
  const auto blocking = [](Engine& engine, Loader& loader, int count) {
    std::vector<double> losses;
    for (int i = 0; i < count; ++i) {
      losses.push_back(engine.train_batch(*loader.next()).mean_loss());
    }
    return losses;
  };
  EXPECT_EQ(train(ahead), train(blocking));
}

TEST_P(EngineAheadShim, RefusesWhatCannotBeInFlight) {
  expect_error([&] { engine_.finish(); }, {"a training step in flight", "none"});
  EXPECT_EQ(engine_.max_in_flight(), 1);
  testing::run_ahead(engine_, *loader_, 4);
  EXPECT_EQ(engine_.max_in_flight(), 2);
  const Batch& batch = *loader_->take();
  engine_.launch(batch);
  expect_error([&] { engine_.launch(batch); }, {"a batch that no step in flight reads"});
  expect_error([&] { engine_.eval_batch(batch); }, {"no training step in flight", "1"});
  engine_.launch(*loader_->take());
  expect_error([&] { engine_.launch(batch); }, {"less than 2 steps in flight", "2"});
  engine_.finish();
  engine_.finish();
}

INSTANTIATE_TEST_SUITE_P(Stages, EngineAheadShim, ::testing::Values(0, 1, 2, 4));

TEST(EngineFilesShim, WeightsGoToAFileAndBack) {
  const std::string file = ::testing::TempDir() + "gpu-weights.safetensors";
  for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
    const Dataset dataset = make_synthetic(1, Split::kTrain, 40);
    const TrainRequest config = gpu_config(2, precision);
    testing::EngineRun trained(config);
    const auto loader = testing::batches_for(trained, dataset, config);
    trained.engine.train_batch(*loader->next());
    trained.engine.save(file);
    TrainRequest other = config;
    other.seed = 7;
    testing::EngineRun fresh(other);
    fresh.engine.load(file);
    EXPECT_EQ(testing::weights_on_host(fresh.engine), testing::weights_on_host(trained.engine));
    const Batch& batch = *loader->next();  // computes with what was loaded, copies in bf16 too
    EXPECT_EQ(fresh.engine.eval_batch(batch).loss, trained.engine.eval_batch(batch).loss);
  }
}

TEST(EngineTraceShim, EveryStepHasItsTimes) {
  const Dataset dataset = make_synthetic(1, Split::kTrain, 40);
  const TrainRequest config = gpu_config(2);
  testing::EngineRun run(config);
  const auto loader = testing::batches_for(run, dataset, config);
  const Clock::time_point origin = Clock::now();
  double last_end = 0;
  const auto check = [&](std::int64_t step) {
    const auto events = run.engine.loop().trace(origin, step);
    int forwards = 0;
    double end = 0;
    for (const TraceEvent& event : events) {
      EXPECT_GE(event.start, last_end - 1e-3) << step;
      EXPECT_GE(event.end, event.start - 1e-4) << step;
      end = std::max(end, event.end);
      if (event.kind == TraceKind::kForward) ++forwards;
    }
    EXPECT_EQ(forwards, 2 * *config.micro_batches);
    EXPECT_GT(end, last_end);
    last_end = end;
  };
  for (int step = 1; step <= kSteps; ++step) {
    run.engine.train_batch(*loader->next());
    check(step);
  }
  loader->release();
  testing::run_ahead(
      run.engine, *loader, kSteps, [](const Batch&) {}, check);
}

}  // namespace
}  // namespace stagecoach
