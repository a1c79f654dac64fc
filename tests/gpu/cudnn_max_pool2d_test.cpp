// A second opinion on max pooling: cuDNN's, which only a GPU gives.
#include <gtest/gtest.h>

#include "bench/cudnn_pool.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

// Few values are equal among so many random ones, so the rule for ties decides nothing.
TEST(CudnnMaxPool2d, AgreesWithOurs) {
  const MaxPool2dOptions all_options[] = {{3, 3, 2, 2, 0, 0}, {2, 3, 1, 2, 1, 1}};
  for (const MaxPool2dOptions& options : all_options) {
    const TensorSpec x = channels_last(3, 64, 13, 15), y = max_pool2d_output(x, options);
    TensorSpec index = y;
    index.dtype = DType::kU8;
    testing::Gpu gpu;
    const Tensor input = gpu.put(testing::random_tensor(x, 1).tensor);
    const Tensor output_grad = gpu.put(testing::random_tensor(y, 2).tensor);
    const Tensor ours = gpu.make(y), places = gpu.make(index), our_grad = gpu.make(x);
    max_pool2d_forward(gpu.context(), ours, places, input, options);
    max_pool2d_backward(gpu.context(), our_grad, output_grad, places, options);
    const Tensor theirs = gpu.make(y), their_grad = gpu.make(x);
    CudnnPool pool(gpu.context(), x, y, options);
    pool.forward(theirs, input);
    pool.backward(their_grad, output_grad, theirs, input);
    EXPECT_EQ(gpu.get(ours), gpu.get(theirs));
    const std::vector<float> got = gpu.get(our_grad), expected = gpu.get(their_grad);
    for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], expected[i], 1e-5) << i;
  }
}

}  // namespace
}  // namespace stagecoach
