// Max pooling by cuDNN, to compare ours with: by the functions that it has had since long before
// its graphs.
#pragma once

#include <cudnn.h>

#include <type_traits>

#include "core/cuda/libraries.h"
#include "core/cuda/runtime.h"
#include "kernels/cuda/cudnn_api.h"
#include "kernels/max_pool2d.h"

namespace stagecoach {

// On the context's GPU and stream. `x`, `y`: channels last, F32 or BF16. Every call throws Error
// where cuDNN refuses it.
class CudnnPool {
 public:
  CudnnPool(Context& context, const TensorSpec& x, const TensorSpec& y,
            const MaxPool2dOptions& options) {
    cuda::use(context.device());
    STAGECOACH_CUDNN_CHECK(cuda::cudnn().create(&handle_));
    STAGECOACH_CUDNN_CHECK(cuda::cudnn().set_stream(handle_, cuda::native_stream(context)));
    describe(x_, x);
    describe(y_, y);
    STAGECOACH_CUDNN_CHECK(api_.cudnnCreatePoolingDescriptor(&pool_));
    STAGECOACH_CUDNN_CHECK(api_.cudnnSetPooling2dDescriptor(
        pool_, CUDNN_POOLING_MAX_DETERMINISTIC, CUDNN_NOT_PROPAGATE_NAN,
        static_cast<int>(options.kernel_h), static_cast<int>(options.kernel_w),
        static_cast<int>(options.padding_h), static_cast<int>(options.padding_w),
        static_cast<int>(options.stride_h), static_cast<int>(options.stride_w)));
  }
  ~CudnnPool() {
    api_.cudnnDestroyPoolingDescriptor(pool_);
    for (const cudnnTensorDescriptor_t tensor : {x_, y_}) api_.cudnnDestroyTensorDescriptor(tensor);
    cuda::cudnn().destroy(handle_);
  }
  CudnnPool(const CudnnPool&) = delete;
  CudnnPool& operator=(const CudnnPool&) = delete;

  void forward(const Tensor& y, const Tensor& x) {
    STAGECOACH_CUDNN_CHECK(
        api_.cudnnPoolingForward(handle_, pool_, &kOne, x_, x.data, &kZero, y_, y.data));
  }
  void backward(const Tensor& dx, const Tensor& dy, const Tensor& y, const Tensor& x) {
    STAGECOACH_CUDNN_CHECK(api_.cudnnPoolingBackward(handle_, pool_, &kOne, y_, y.data, y_, dy.data,
                                                     x_, x.data, &kZero, x_, dx.data));
  }

 private:
  struct Api {
    DynamicLibrary library = cuda::open_cudnn();
#define STAGECOACH_CUDNN_FUNCTION(name) \
  decltype(&::name) name = library.symbol<std::remove_pointer_t<decltype(&::name)>>(#name)
    STAGECOACH_CUDNN_FUNCTION(cudnnCreateTensorDescriptor);
    STAGECOACH_CUDNN_FUNCTION(cudnnSetTensor4dDescriptor);
    STAGECOACH_CUDNN_FUNCTION(cudnnDestroyTensorDescriptor);
    STAGECOACH_CUDNN_FUNCTION(cudnnCreatePoolingDescriptor);
    STAGECOACH_CUDNN_FUNCTION(cudnnSetPooling2dDescriptor);
    STAGECOACH_CUDNN_FUNCTION(cudnnDestroyPoolingDescriptor);
    STAGECOACH_CUDNN_FUNCTION(cudnnPoolingForward);
    STAGECOACH_CUDNN_FUNCTION(cudnnPoolingBackward);
#undef STAGECOACH_CUDNN_FUNCTION
  };
  static constexpr float kOne = 1.0f, kZero = 0.0f;

  void describe(cudnnTensorDescriptor_t& descriptor, const TensorSpec& spec) {
    const auto size = [&](int i) { return static_cast<int>(spec.shape[i]); };
    STAGECOACH_CUDNN_CHECK(api_.cudnnCreateTensorDescriptor(&descriptor));
    STAGECOACH_CUDNN_CHECK(api_.cudnnSetTensor4dDescriptor(
        descriptor, CUDNN_TENSOR_NHWC,
        spec.dtype == DType::kBF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT, size(0), size(1),
        size(2), size(3)));
  }

  Api api_;
  cudnnTensorDescriptor_t x_ = nullptr, y_ = nullptr;
  cudnnHandle_t handle_ = nullptr;
  cudnnPoolingDescriptor_t pool_ = nullptr;
};

}  // namespace stagecoach
