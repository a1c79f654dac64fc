#include "trainer/engine.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>

#include "core/error.h"
#include "core/safetensors.h"
#include "tests/kernels/checks.h"
#include "tests/scratch_folder.h"
#include "tests/trainer/engine_run.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;
using testing::batch_of;
using testing::bytes_of;
using testing::different_weights;
using testing::EngineRun;
using testing::expect_same;
using testing::small_config;
using testing::small_dataset;
using testing::small_network;
using testing::training_batches;
using testing::weights_of;

// Trains on the first `steps` batches of the data.
std::vector<BatchResult> train(Engine& engine, const TrainRequest& config, int steps) {
  const auto loader = training_batches(small_dataset(), config);
  std::vector<BatchResult> results;
  for (int i = 0; i < steps; ++i) results.push_back(engine.train_batch(*loader->next()));
  return results;
}

void expect_has(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
}

std::string content_of(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

class EngineTest : public ::testing::Test {
 protected:
  fs::path file(const std::string& name = "weights.safetensors") const { return folder_ / name; }

  const testing::ScratchFolder scratch_;
  const fs::path& folder_ = scratch_.path();
};

TEST_F(EngineTest, TwoStagesEqualThePlainLoopInEveryBit) {
  const TrainRequest plain = small_config(0), split = small_config(2);
  EngineRun a(plain), b(split);
  const auto initial = weights_of(a.engine);
  EXPECT_EQ(different_weights(b.engine, initial), "");
  const auto expected = train(a.engine, plain, 5), results = train(b.engine, split, 5);
  for (int i = 0; i < 5; ++i) expect_same(results[i], expected[i]);
  EXPECT_EQ(different_weights(b.engine, weights_of(a.engine)), "");
  for (const auto& [name, bytes] : weights_of(a.engine)) {
    EXPECT_TRUE(bytes != initial.at(name)) << name << " was not trained";
  }
  EXPECT_EQ(a.engine.program(), nullptr);
  EXPECT_NE(b.engine.program(), nullptr);
}

TEST_F(EngineTest, TheLossOfABatchGoesDown) {
  TrainRequest config = small_config(3);
  config.dropout = 0;
  // Small steps along the gradient: the loss falls whatever the last bits are. Large ones learn the
  // batch by heart, or kill every ReLU, as the processor's rounding has it.
  config.learning_rate = 0.01;
  config.momentum = 0;
  EngineRun run(config);
  const auto loader = training_batches(small_dataset(), config);
  const Batch& batch = *loader->next();
  const BatchResult first = run.engine.train_batch(batch);
  EXPECT_NEAR(first.mean_loss(), std::log(10.0), 0.2);
  BatchResult last;
  for (int i = 0; i < 100; ++i) last = run.engine.train_batch(batch);
  EXPECT_LT(last.mean_loss(), first.mean_loss() - 0.02);
  EXPECT_EQ(run.engine.steps(), 101);
}

TEST_F(EngineTest, EvaluationChangesNothing) {
  const TrainRequest config = small_config(3);
  EngineRun evaluated(config), undisturbed(config);
  const auto loader = training_batches(small_dataset(), config);
  for (int i = 0; i < 3; ++i) {
    const Batch& batch = *loader->next();
    const auto before = weights_of(evaluated.engine);
    const BatchResult first = evaluated.engine.eval_batch(batch);
    expect_same(evaluated.engine.eval_batch(batch), first);
    EXPECT_EQ(different_weights(evaluated.engine, before), "");
    EXPECT_EQ(evaluated.engine.steps(), i);
    expect_same(evaluated.engine.train_batch(batch), undisturbed.engine.train_batch(batch));
  }
  EXPECT_EQ(different_weights(evaluated.engine, weights_of(undisturbed.engine)), "");
}

TEST_F(EngineTest, EvaluationHasNoDropout) {
  TrainRequest config = small_config(2), other_seed = config, without = config;
  other_seed.seed = 99;
  without.dropout = 0;
  EngineRun a(config), b(other_seed), c(without);
  a.engine.save(file());
  b.engine.load(file());
  const auto loader = training_batches(small_dataset(), config);
  const Batch& batch = *loader->next();
  const BatchResult result = a.engine.eval_batch(batch);
  expect_same(b.engine.eval_batch(batch), result);
  // The same weights have the same loss in training where nothing is dropped, and only there.
  const double dropped = a.engine.train_batch(batch).loss;
  EXPECT_NE(b.engine.train_batch(batch).loss, dropped);
  EXPECT_NE(dropped, result.loss);
  expect_same(c.engine.train_batch(batch), result);
}

TEST_F(EngineTest, SavedWeightsLoadIntoAnyNumberOfStages) {
  const TrainRequest config = small_config(2);
  EngineRun run(config);
  train(run.engine, config, 3);
  run.engine.save(file());
  const auto loader = training_batches(small_dataset(), config);
  const Batch& batch = *loader->next();
  const BatchResult expected = run.engine.eval_batch(batch);
  for (const int stages : {0, 1, 3, 12}) {
    SCOPED_TRACE(stages);
    TrainRequest other = small_config(stages);
    other.seed = 5;
    EngineRun loaded(other);
    EXPECT_NE(different_weights(loaded.engine, weights_of(run.engine)), "");
    loaded.engine.load(file());
    EXPECT_EQ(different_weights(loaded.engine, weights_of(run.engine)), "");
    expect_same(loaded.engine.eval_batch(batch), expected);
    loaded.engine.save(file("again.safetensors"));
    EXPECT_TRUE(content_of(file("again.safetensors")) == content_of(file()));
  }
}

TEST_F(EngineTest, FromSavedWeightsEveryNumberOfStagesGoesOnTheSame) {
  const TrainRequest config = small_config(2);
  EngineRun run(config);
  train(run.engine, config, 3);
  run.engine.save(file());
  const TrainRequest plain = small_config(0), split = small_config(5);
  EngineRun a(plain), b(split);
  a.engine.load(file());
  b.engine.load(file());
  const auto expected = train(a.engine, plain, 3), results = train(b.engine, split, 3);
  for (int i = 0; i < 3; ++i) expect_same(results[i], expected[i]);
  EXPECT_EQ(different_weights(b.engine, weights_of(a.engine)), "");
}

// Momentum and the number of the step are not saved; without them and dropout nothing is missing.
TEST_F(EngineTest, WithoutOptimizerStateAndDropoutTrainingGoesOnAsIfItHadNotStopped) {
  TrainRequest config = small_config(2);
  config.momentum = 0;
  config.dropout = 0;
  EngineRun whole(config), begun(config), resumed(config);
  const auto loader = training_batches(small_dataset(), config);
  for (int i = 0; i < 6; ++i) {
    const Batch& batch = *loader->next();
    const BatchResult expected = whole.engine.train_batch(batch);
    if (i == 3) {
      begun.engine.save(file());
      resumed.engine.load(file());
    }
    expect_same((i < 3 ? begun : resumed).engine.train_batch(batch), expected);
  }
  EXPECT_EQ(different_weights(resumed.engine, weights_of(whole.engine)), "");
}

// Writes the weights of an engine with others in place of some.
class Editor {
 public:
  explicit Editor(const Engine& engine) {
    for (const auto& stage : engine.loop().stages()) {
      for (const auto& p : stage->parameters()) {
        owned_.push_back(std::make_unique<OwnedTensor>(p.value.spec));
        std::memcpy(owned_.back()->tensor.data, p.value.data,
                    static_cast<std::size_t>(p.value.bytes()));
        tensors_.push_back({p.name, owned_.back()->tensor});
      }
    }
  }
  const Tensor& at(const std::string& name) { return find(name)->tensor; }
  void replace(const std::string& name, const TensorSpec& spec) {
    owned_.push_back(std::make_unique<OwnedTensor>(spec));
    find(name)->tensor = owned_.back()->tensor;
  }
  void remove(const std::string& name) { tensors_.erase(find(name)); }
  void write(const fs::path& file) const { write_safetensors(file, tensors_, {}); }

 private:
  std::vector<NamedTensor>::iterator find(const std::string& name) {
    return std::ranges::find(tensors_, name, &NamedTensor::name);
  }
  std::vector<std::unique_ptr<OwnedTensor>> owned_;
  std::vector<NamedTensor> tensors_;
};

// What loading a file says that `edit` has made from another engine's weights. The last parameter
// is the one to spoil: all others could have been read before it.
std::string load_error(const fs::path& file, const std::function<void(Editor&)>& edit) {
  TrainRequest config = small_config(3);
  EngineRun target(config);
  config.seed = 4;
  EngineRun source(config);
  Editor editor(source.engine);
  edit(editor);
  editor.write(file);
  const auto before = weights_of(target.engine);
  try {
    target.engine.load(file);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(different_weights(target.engine, before), "");
    expect_has(error.message(), "weights.safetensors");
    return error.message();
  }
  return "";
}

TEST_F(EngineTest, AFileWithoutATensorChangesNothing) {
  const std::string message =
      load_error(file(), [](Editor& editor) { editor.remove("classifier.4.bias"); });
  expect_has(message, "classifier.4.bias");
}

TEST_F(EngineTest, AFileWithAnotherShapeChangesNothing) {
  const std::string message = load_error(
      file(), [](Editor& editor) { editor.replace("classifier.4.bias", row_major({100})); });
  expect_has(message, "to be F32 [10], or F16 or BF16");
  expect_has(message, "got F32 [100]");
}

TEST_F(EngineTest, AFileWithAnotherTypeChangesNothing) {
  const std::string message = load_error(file(), [](Editor& editor) {
    editor.replace("classifier.4.bias", row_major({10}, DType::kI32));
  });
  expect_has(message, "got I32 [10]");
}

TEST_F(EngineTest, AFileThatIsMissingOrDamagedChangesNothing) {
  EngineRun run(small_config(2));
  const auto before = weights_of(run.engine);
  EXPECT_THROW(run.engine.load(file("none")), Error);
  run.engine.save(file());
  fs::resize_file(file(), fs::file_size(file()) - 1);
  EXPECT_THROW(run.engine.load(file()), Error);
  EXPECT_EQ(different_weights(run.engine, before), "");
}

TEST_F(EngineTest, NanInTheWeightsStopsTheStepAndIsNamed) {
  for (const int stages : {0, 1, 3}) {
    SCOPED_TRACE(stages);
    const TrainRequest config = small_config(stages);
    EngineRun run(config), fresh(config);
    run.engine.save(file());
    Editor editor(run.engine);
    editor.at("features.3.bias").as<float>()[5] = std::numeric_limits<float>::quiet_NaN();
    editor.write(file("nan.safetensors"));
    run.engine.load(file("nan.safetensors"));
    const auto before = weights_of(run.engine);
    try {
      train(run.engine, config, 1);
      ADD_FAILURE() << "trained";
    } catch (const NumericError& error) {
      expect_has(error.message(), "training step 1: expected a finite loss");
      expect_has(error.message(), "layer 3, features.3 Conv2d(8, 12");
      expect_has(error.message(), "and in features.3.bias");
    }
    EXPECT_EQ(different_weights(run.engine, before), "");
    EXPECT_EQ(run.engine.steps(), 0);
    // Nothing of the failed step is left.
    run.engine.load(file());
    expect_same(train(run.engine, config, 2).back(), train(fresh.engine, config, 2).back());
    EXPECT_EQ(different_weights(run.engine, weights_of(fresh.engine)), "");
  }
}

TEST_F(EngineTest, ALearningRateThatExplodesStopsWithTheWeightsBeforeTheStep) {
  for (const int stages : {0, 3}) {
    SCOPED_TRACE(stages);
    TrainRequest config = small_config(stages);
    config.learning_rate = 1e15;
    EngineRun run(config);
    const auto loader = training_batches(small_dataset(), config);
    std::map<std::string, testing::Bytes> before;
    std::string message;
    for (int step = 0; step < 20 && message.empty(); ++step) {
      before = weights_of(run.engine);
      try {
        run.engine.train_batch(*loader->next());
      } catch (const NumericError& error) {
        message = error.message();
      }
    }
    expect_has(message, "training step " + std::to_string(run.engine.steps() + 1) + ":");
    expect_has(message, "in the output of layer ");
    expect_has(message, "try a smaller --lr");
    EXPECT_GE(run.engine.steps(), 1);
    EXPECT_EQ(different_weights(run.engine, before), "");
  }
}

// What an exploding last step leaves: its loss is that of the weights before it.
TEST_F(EngineTest, WeightsThatAreNotFiniteAreNeitherEvaluatedNorSaved) {
  const TrainRequest config = small_config(2);
  EngineRun run(config);
  train(run.engine, config, 2);
  run.engine.save(file());
  const std::string before = content_of(file());
  const Stage::Parameter& bias = run.engine.loop().stages().front()->parameters()[1];
  bias.value.as<float>()[3] = std::numeric_limits<float>::infinity();
  const auto loader = training_batches(small_dataset(), config);
  try {
    run.engine.eval_batch(*loader->next());
    ADD_FAILURE() << "evaluated";
  } catch (const NumericError& error) {
    expect_has(error.message(), "evaluation after training step 2: expected a finite loss");
    expect_has(error.message(), "layer 0, features.0 Conv2d");
    expect_has(error.message(), "and in features.0.bias");
  }
  try {
    run.engine.save(file());
    ADD_FAILURE() << "saved";
  } catch (const NumericError& error) {
    expect_has(error.message(), "infinity or NaN in features.0.bias after training step 2");
  }
  EXPECT_TRUE(content_of(file()) == before);
}

// The message of the UsageError for a config that cannot be.
std::string usage_error(const TrainRequest& config) {
  try {
    EngineRun run(config);
    ADD_FAILURE() << "accepted";
  } catch (const UsageError& error) {
    return error.message();
  }
  return "";
}

TEST_F(EngineTest, MoreStagesThanLayersAreRefused) {
  expect_has(usage_error(small_config(13)), "12 layers, got 13");
  TrainRequest config = small_config(13);
  config.partition = {PartitionKind::kTime, {}};  // before anything is measured
  expect_has(usage_error(config), "12 layers, got 13");
}

TEST_F(EngineTest, CutsOutOfRangeAreRefused) {
  TrainRequest config = small_config(3);
  const std::vector<std::vector<int>> wrong = {{3, 12}, {0, 3}, {5, 5}, {7, 3}, {3}};
  for (const std::vector<int>& cuts : wrong) {
    config.partition = PartitionRequest::at(cuts);
    expect_has(usage_error(config), fmt::format("got '{}'", fmt::join(cuts, ",")));
  }
}

TEST_F(EngineTest, PartitionsAreWhatWasAskedFor) {
  TrainRequest config = small_config(3);
  EXPECT_EQ(EngineRun(config).engine.partition().first, (std::vector<int>{0, 4, 8}));
  config.partition = PartitionRequest::at({3, 10});
  EngineRun given(config);
  EXPECT_EQ(given.engine.partition().first, (std::vector<int>{0, 3, 10}));
  EXPECT_EQ(given.engine.partition_text(), "given (cut at layers 3,10)");
  expect_has(given.notes, "given (cut at layers 3,10)");
  config.partition = {PartitionKind::kParameters, {}};  // 6176 of 7598 are in layer 8
  EXPECT_EQ(EngineRun(config).engine.partition().first, (std::vector<int>{0, 4, 9}));
  config.partition = {PartitionKind::kTime, {}};
  EngineRun timed(config);
  EXPECT_EQ(timed.engine.partition().stages(), 3);
  expect_has(timed.notes, "measuring the time of each layer");
  expect_has(timed.notes, "best possible speed-up");
}

// Refused before it is allocated, else the machine would kill the process, and before it is
// measured.
TEST_F(EngineTest, WhatDoesNotFitIntoMemoryIsRefusedAtOnce) {
  const Network alexnet = make_alexnet();
  for (const int stages : {0, 2}) {
    for (const PartitionKind partition : {PartitionKind::kUniform, PartitionKind::kTime}) {
      SCOPED_TRACE(std::to_string(stages) + " stages");
      TrainRequest config = small_config(stages);
      config.image_size = 224;
      config.micro_batch_size = 1'000'000;
      config.partition = {partition, {}};
      std::string notes;
      try {
        const Engine engine(alexnet, job_of(config),
                            {0, [&](const std::string& line) { notes += line; }});
        ADD_FAILURE() << "accepted";
      } catch (const Error& error) {
        expect_has(error.message(), "memory: expected at most");
        expect_has(error.message(), "smaller or fewer micro-batches");
      }
      EXPECT_EQ(notes.find("measuring"), std::string::npos) << notes;
    }
  }
}

TEST_F(EngineTest, MemoryThatOthersNeedCounts) {
  const TrainRequest config = small_config(2);
  EXPECT_NO_THROW(EngineRun(small_network(0.5f), config, 0));
  EXPECT_THROW(EngineRun(small_network(0.5f), config, std::int64_t{1} << 50), Error);
}

TEST_F(EngineTest, NothingIsMeasuredForAPlanThatCannotFit) {
  TrainRequest config = small_config(2);
  config.partition = {PartitionKind::kTime, {}};
  const Network network = small_network(0.5f);
  std::string notes;
  const auto note = [&notes](const std::string& line) { notes += line; };
  EXPECT_THROW(Engine(network, job_of(config), {std::int64_t{1} << 50, note}), Error);
  EXPECT_EQ(notes, "");
}

}  // namespace
}  // namespace stagecoach
