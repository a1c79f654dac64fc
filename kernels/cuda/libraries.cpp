#include "kernels/cuda/libraries.h"

namespace stagecoach::cuda {

DynamicLibrary open_cudnn() {
  return {"cuDNN 9", {"libcudnn.so.9"}};
}

DynamicLibrary open_cublaslt() {
  return {"cuBLASLt 13", {"libcublasLt.so.13"}};
}

DynamicLibrary open_nccl() {
  return {"NCCL 2", {"libnccl.so.2"}};
}

}  // namespace stagecoach::cuda
