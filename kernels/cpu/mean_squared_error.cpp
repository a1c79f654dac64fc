#include "kernels/cpu/mean_squared_error.h"

namespace stagecoach::cpu {

void mean_squared_error(ThreadPool& pool, std::int64_t rows, std::int64_t columns, float* losses,
                        float* prediction_grad, const float* prediction, const float* targets,
                        float scale) {
  const double factor = 2.0 / static_cast<double>(columns) * static_cast<double>(scale);
  pool.parallel_for(rows, [=](std::int64_t row, int) {
    double sum = 0.0;
    for (std::int64_t i = row * columns; i < (row + 1) * columns; ++i) {
      const double difference =
          static_cast<double>(prediction[i]) - static_cast<double>(targets[i]);
      sum += difference * difference;
      prediction_grad[i] = static_cast<float>(factor * difference);
    }
    losses[row] = static_cast<float>(sum / static_cast<double>(columns));
  });
}

}  // namespace stagecoach::cpu
