// Engines on a GPU, their data and their weights.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/copy.h"
#include "tests/trainer/engine_run.h"

namespace stagecoach::testing {

inline TrainRequest gpu_config(int stages, std::optional<Precision> precision = Precision::kFp32,
                               DeviceRequest device = DeviceRequest::cuda({0})) {
  TrainRequest config = small_config(stages);
  config.device = std::move(device);
  config.precision = precision;
  return config;
}

// The weights, by name, copied to the host.
inline std::map<std::string, std::vector<float>> weights_on_host(const Engine& engine) {
  std::map<std::string, std::vector<float>> weights;
  for (const auto& stage : engine.loop().stages()) {
    for (const auto& parameter : stage->parameters()) {
      const OwnedTensor host = to_host(stage->context().stream(), parameter.value);
      const float* data = host.tensor.as<float>();
      weights[parameter.name] = {data, data + host.tensor.elements()};
    }
  }
  return weights;
}

// Batches in the order of the synthetic data, on the engine's first device.
inline std::unique_ptr<Loader> batches_for(const EngineRun& run, const Dataset& dataset,
                                           const TrainRequest& config) {
  const Engine& engine = run.engine;
  LoaderOptions options;
  options.augmentation = {true, true};
  options.target = engine.devices().target;
  options.dtype = engine.devices().dtype();
  return training_batches(dataset, config, options);
}

// What a run leaves: its losses, its weights, and the loss of an evaluation.
struct Trained {
  std::vector<double> losses;
  std::map<std::string, std::vector<float>> weights;
  bool operator==(const Trained&) const = default;
};

inline Trained train_steps(EngineRun& run, const TrainRequest& config, int steps) {
  const Dataset dataset = make_synthetic(1, Split::kTrain, 40);
  const std::unique_ptr<Loader> loader = batches_for(run, dataset, config);
  Trained trained;
  for (int i = 0; i < steps; ++i) {
    trained.losses.push_back(run.engine.train_batch(*loader->next()).mean_loss());
  }
  trained.losses.push_back(run.engine.eval_batch(*loader->next()).mean_loss());
  trained.weights = weights_on_host(run.engine);
  return trained;
}
inline Trained train_steps(const TrainRequest& config, int steps) {
  EngineRun run(config);
  return train_steps(run, config, steps);
}

using BeforeLaunch = std::function<void(const Batch&)>;
using AfterFinish = std::function<void(std::int64_t step)>;

// Trains as `stagecoach train` does: a step is launched before the one before it is finished.
inline std::vector<double> run_ahead(
    Engine& engine, Loader& loader, int steps,
    const BeforeLaunch& before_launch = [](const Batch&) {},
    const AfterFinish& after_finish = [](std::int64_t) {}) {
  std::vector<double> losses;
  int launched = 0;
  while (std::ssize(losses) < steps) {
    if (launched < steps && launched - std::ssize(losses) < engine.max_in_flight()) {
      const Batch& batch = *loader.take();
      before_launch(batch);
      engine.launch(batch);
      ++launched;
    } else {
      losses.push_back(engine.finish().mean_loss());
      after_finish(std::ssize(losses));
      loader.release();
    }
  }
  return losses;
}

// train_steps() that way.
inline Trained train_ahead(const TrainRequest& config, int steps) {
  const Dataset dataset = make_synthetic(1, Split::kTrain, 40);
  EngineRun run(config);
  const std::unique_ptr<Loader> loader = batches_for(run, dataset, config);
  Trained trained;
  trained.losses = run_ahead(run.engine, *loader, steps);
  trained.losses.push_back(run.engine.eval_batch(*loader->next()).mean_loss());
  trained.weights = weights_on_host(run.engine);
  return trained;
}

}  // namespace stagecoach::testing
