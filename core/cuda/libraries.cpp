#include "core/cuda/libraries.h"

#include <fmt/format.h>

namespace stagecoach::cuda {
namespace {

DynamicLibrary open(const std::string& what, const std::string& name) {
  return {what,
          {name},
          fmt::format("install {} or put its folder on LD_LIBRARY_PATH, or train with --device cpu",
                      what)};
}

}  // namespace

DynamicLibrary open_cudnn() {
  return open("cuDNN 9", "libcudnn.so.9");
}

DynamicLibrary open_cublaslt() {
  return open("cuBLASLt 13", "libcublasLt.so.13");
}

DynamicLibrary open_nccl() {
  return open("NCCL 2", "libnccl.so.2");
}

}  // namespace stagecoach::cuda
