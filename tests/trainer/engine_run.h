// What the tests of the engine share: a small network, engines for it, batches, weights as bytes.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "data/loader.h"
#include "layers/layers.h"
#include "pipeline/pipeline.h"
#include "trainer/engine.h"
#include "trainer/request.h"

namespace stagecoach::testing {

// 12 layers for images of 16 x 16: every kind of layer that AlexNet has, trained in milliseconds.
inline Network small_network(float dropout) {
  const auto convolution = [](int in, int out) { return conv2d_layer(in, out, 3, {1, 1, 1, 1}); };
  return {"small",
          {{"features.0", convolution(3, 8)},
           {"features.1", relu_layer()},
           {"features.2", max_pool2d_layer({})},
           {"features.3", convolution(8, 12)},
           {"features.4", relu_layer()},
           {"avgpool", adaptive_avg_pool2d_layer(4, 4)},
           {"", flatten_layer()},
           {"classifier.0", dropout_layer(dropout)},
           {"classifier.1", linear_layer(192, 32)},
           {"classifier.2", relu_layer()},
           {"classifier.3", dropout_layer(dropout)},
           {"classifier.4", linear_layer(32, 10)}}};
}

// Of small_network(): 4 micro-batches of 2 images, 1F1B, cut in layers of equal number.
inline TrainRequest small_config(int stages) {
  TrainRequest config;
  config.device = DeviceRequest::cpu();
  config.image_size = 16;
  config.stages = stages;
  config.micro_batch_size = 2;
  config.micro_batches = 4;
  config.partition = {PartitionKind::kUniform, {}};
  config.optimizer = OptimizerKind::kSgd;
  config.learning_rate = 0.05;
  config.threads = 1;
  return config;
}

inline const Dataset& small_dataset() {
  static const Dataset images = make_synthetic(7, Split::kTrain, 64);
  return images;
}

inline void expect_same(const BatchResult& a, const BatchResult& b) {
  EXPECT_EQ(a.loss, b.loss);
  EXPECT_EQ(a.correct, b.correct);
  EXPECT_EQ(a.samples, b.samples);
}

// The samples of a step.
inline std::int64_t batch_of(const TrainRequest& config) {
  return config.micro_batch_size * config.micro_batches.value_or(kDefaultMicroBatches) *
         config.replicas.value_or(1);
}

// A network and its engine.
struct EngineRun {
  EngineRun(Network of, const TrainRequest& config, std::int64_t other_bytes = 0)
      : network(std::move(of)),
        engine(network, job_of(config),
               {other_bytes, [this](const std::string& line) { notes += line; }}) {}
  explicit EngineRun(const TrainRequest& config)
      : EngineRun(small_network(static_cast<float>(config.dropout)), config) {}

  std::string notes;
  Network network;
  Engine engine;
};

// Training batches of the synthetic data, as `stagecoach train` makes them.
inline std::unique_ptr<Loader> training_batches(const Dataset& dataset, const TrainRequest& config,
                                                LoaderOptions options = {}) {
  options.transform.resize = config.image_size * 8 / 7;
  options.transform.crop = config.image_size;
  const auto order = [size = dataset.size(), batch = batch_of(config)](std::int64_t i) {
    std::vector<std::int64_t> samples(static_cast<std::size_t>(batch));
    std::iota(samples.begin(), samples.end(), i * batch % (size - batch + 1));
    return samples;
  };
  return std::make_unique<Loader>(dataset, batch_of(config), order, options);
}

using Bytes = std::vector<char>;

inline Bytes bytes_of(const Tensor& tensor) {
  const char* data = static_cast<const char*>(tensor.data);
  return {data, data + tensor.bytes()};
}

// The memory of all weights, by name.
inline std::map<std::string, Bytes> weights_of(const Engine& engine) {
  std::map<std::string, Bytes> weights;
  for (const auto& stage : engine.loop().stages()) {
    for (const auto& parameter : stage->parameters()) {
      weights[parameter.name] = bytes_of(parameter.value);
    }
  }
  return weights;
}

// The names of the weights that are not those of `expected`, byte by byte; "" when all are.
inline std::string different_weights(const Engine& engine,
                                     const std::map<std::string, Bytes>& expected) {
  std::string names;
  std::size_t compared = 0;
  for (const auto& stage : engine.loop().stages()) {
    for (const auto& parameter : stage->parameters()) {
      ++compared;
      const auto found = expected.find(parameter.name);
      const auto bytes = static_cast<std::size_t>(parameter.value.bytes());
      const bool same = found != expected.end() && found->second.size() == bytes &&
                        std::memcmp(found->second.data(), parameter.value.data, bytes) == 0;
      if (!same) names += parameter.name + " ";
    }
  }
  return compared == expected.size() ? names : names + "(another number of parameters)";
}

}  // namespace stagecoach::testing
