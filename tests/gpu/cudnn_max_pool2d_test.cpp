// A second opinion on max pooling: cuDNN's, which only a GPU gives.
#include <cudnn.h>
#include <gtest/gtest.h>

#include "core/cuda/runtime.h"
#include "kernels/cuda/cudnn_api.h"
#include "kernels/cuda/libraries.h"
#include "kernels/max_pool2d.h"
#include "tests/cuda/both.h"

namespace stagecoach {
namespace {

// The functions that cuDNN has had for pooling since long before its graphs.
struct PoolingApi {
  DynamicLibrary library = cuda::open_cudnn();
#define STAGECOACH_CUDNN_FUNCTION(name) \
  decltype(&::name) name = library.symbol<std::remove_pointer_t<decltype(&::name)>>(#name)
  STAGECOACH_CUDNN_FUNCTION(cudnnCreateTensorDescriptor);
  STAGECOACH_CUDNN_FUNCTION(cudnnSetTensor4dDescriptor);
  STAGECOACH_CUDNN_FUNCTION(cudnnCreatePoolingDescriptor);
  STAGECOACH_CUDNN_FUNCTION(cudnnSetPooling2dDescriptor);
  STAGECOACH_CUDNN_FUNCTION(cudnnPoolingForward);
  STAGECOACH_CUDNN_FUNCTION(cudnnPoolingBackward);
#undef STAGECOACH_CUDNN_FUNCTION
};

// Its descriptors and its handle live as long as the test program.
class CudnnPool {
 public:
  CudnnPool(Context& context, const TensorSpec& x, const TensorSpec& y,
            const MaxPool2dOptions& options)
      : x_(tensor(x)), y_(tensor(y)) {
    cuda::use(context.device());
    STAGECOACH_CUDNN_CHECK(cuda::cudnn().create(&handle_));
    STAGECOACH_CUDNN_CHECK(cuda::cudnn().set_stream(handle_, cuda::native_stream(context)));
    STAGECOACH_CUDNN_CHECK(api_.cudnnCreatePoolingDescriptor(&pool_));
    STAGECOACH_CUDNN_CHECK(api_.cudnnSetPooling2dDescriptor(
        pool_, CUDNN_POOLING_MAX_DETERMINISTIC, CUDNN_NOT_PROPAGATE_NAN,
        static_cast<int>(options.kernel_h), static_cast<int>(options.kernel_w),
        static_cast<int>(options.padding_h), static_cast<int>(options.padding_w),
        static_cast<int>(options.stride_h), static_cast<int>(options.stride_w)));
  }

  void forward(const Tensor& y, const Tensor& x) {
    STAGECOACH_CUDNN_CHECK(
        api_.cudnnPoolingForward(handle_, pool_, &kOne, x_, x.data, &kZero, y_, y.data));
  }
  void backward(const Tensor& dx, const Tensor& dy, const Tensor& y, const Tensor& x) {
    STAGECOACH_CUDNN_CHECK(api_.cudnnPoolingBackward(handle_, pool_, &kOne, y_, y.data, y_, dy.data,
                                                     x_, x.data, &kZero, x_, dx.data));
  }

 private:
  static constexpr float kOne = 1.0f, kZero = 0.0f;

  cudnnTensorDescriptor_t tensor(const TensorSpec& spec) {
    cudnnTensorDescriptor_t descriptor = nullptr;
    const auto size = [&](int i) { return static_cast<int>(spec.shape[i]); };
    STAGECOACH_CUDNN_CHECK(api_.cudnnCreateTensorDescriptor(&descriptor));
    STAGECOACH_CUDNN_CHECK(api_.cudnnSetTensor4dDescriptor(
        descriptor, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, size(0), size(1), size(2), size(3)));
    return descriptor;
  }

  PoolingApi api_;
  cudnnTensorDescriptor_t x_, y_;
  cudnnHandle_t handle_ = nullptr;
  cudnnPoolingDescriptor_t pool_ = nullptr;
};

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
