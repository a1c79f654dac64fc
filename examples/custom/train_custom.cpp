// Learns x * y of points in memory, on two stages under a schedule of its own.
#include <exception>
#include <iostream>

#include "own.h"

// GPipe of two stages and four micro-batches, as a table: a line for each rank.
constexpr const char* kTable =
    "0F0 0F1 0F2 0F3 0BW0 0BW1 0BW2 0BW3\n"
    "1F0 1F1 1F2 1F3 1BW0 1BW1 1BW2 1BW3\n";

int main() try {
  const auto own = std::make_shared<SquarePlus>();
  const Network network("product",
                        {{"in", linear_layer(2, 32)},
                         {"", own},
                         {"middle", linear_layer(32, 32)},
                         {"", own},
                         {"out", linear_layer(32, 1)}},
                        std::make_shared<LogCosh>());
  TrainJob job;
  job.schedule = schedule_from_text(kTable, "table");
  job.sample = {2};
  job.micro_batch_size = 16;
  job.partition = PartitionRequest::at({2});
  job.optimizer.kind = OptimizerKind::kAdam;
  job.optimizer.learning_rate = 3e-3f;
  job.device = DeviceRequest::cpu();
  Engine engine(network, job);

  const OwnedTensor points(row_major({job.batch(), 2})), products(row_major({job.batch(), 1}));
  float* xy = points.tensor.as<float>();
  for (std::int64_t i = 0; i < job.batch(); ++i) {
    xy[2 * i] = static_cast<float>(i % 8) / 4 - 0.875f;
    xy[2 * i + 1] = static_cast<float>(i / 8) / 4 - 0.875f;
    products.tensor.as<float>()[i] = xy[2 * i] * xy[2 * i + 1];
  }
  for (int step = 1; step <= 300; ++step) {
    const BatchResult result = engine.train_batch({points.tensor, products.tensor});
    if (step == 1 || step % 100 == 0) {
      std::cout << "step " << step << " loss " << result.mean_loss() << '\n';
    }
  }
  engine.save("product.safetensors");
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
