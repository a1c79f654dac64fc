#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.h"

namespace stagecoach::cuda {
namespace {

// A thread for each sample: predictions are small.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    mean_squared_error_kernel(std::int64_t rows, std::int64_t columns, float* losses,
                              T* prediction_grad, const T* prediction, const float* targets,
                              double factor, std::int64_t samples) {
  for (std::int64_t row = first_item(); row < rows; row += item_stride()) {
    double sum = 0.0;
    for (std::int64_t i = row * columns; i < (row + 1) * columns; ++i) {
      const double difference = row < samples
                                    ? static_cast<double>(static_cast<float>(prediction[i])) -
                                          static_cast<double>(targets[i])
                                    : 0.0;
      sum += difference * difference;
      prediction_grad[i] = T(static_cast<float>(factor * difference));
    }
    losses[row] = static_cast<float>(sum / static_cast<double>(columns));
  }
}

}  // namespace

void CudaBackend::mean_squared_error(Context& context, Tensor losses, Tensor prediction_grad,
                                     Tensor prediction, Tensor targets, float scale,
                                     std::int64_t samples) const {
  const std::int64_t rows = prediction.shape()[0], columns = prediction.elements() / rows;
  const double factor = 2.0 / static_cast<double>(columns) * static_cast<double>(scale);
  with_element_type(prediction.spec.dtype, [&]<typename T>(T) {
    launch(context, rows, mean_squared_error_kernel<T>, rows, columns, losses.as<float>(),
           prediction_grad.as<T>(), prediction.as<T>(), targets.as<float>(), factor, samples);
  });
}

}  // namespace stagecoach::cuda
