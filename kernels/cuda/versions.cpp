#include "kernels/cuda/backend.h"

#include <fmt/format.h>

#include <cstddef>

#include "core/cuda/libraries.h"
#include "core/error.h"

namespace stagecoach::cuda {
namespace {

// Libraries count as major * `unit` + minor * 100 + patch.
std::string dotted(std::size_t version, std::size_t unit) {
  return fmt::format("{}.{}.{}", version / unit, version % unit / 100, version % 100);
}

std::string cudnn_version() {
  const DynamicLibrary library = open_cudnn();
  return dotted(library.symbol<std::size_t()>("cudnnGetVersion")(), 10000);
}

std::string cublaslt_version() {
  const DynamicLibrary library = open_cublaslt();
  return dotted(library.symbol<std::size_t()>("cublasLtGetVersion")(), 10000);
}

std::string nccl_version() {
  const DynamicLibrary library = open_nccl();
  int version = 0;
  library.symbol<int(int*)>("ncclGetVersion")(&version);
  return dotted(static_cast<std::size_t>(version), 10000);
}

std::string or_reason(std::string (*version)()) {
  try {
    return version();
  } catch (const Error& error) {
    return "not found: " + error.message();
  }
}

}  // namespace

std::vector<std::pair<std::string, std::string>> CudaBackend::library_versions() const {
  return {{"cuDNN", or_reason(cudnn_version)},
          {"cuBLASLt", or_reason(cublaslt_version)},
          {"NCCL", or_reason(nccl_version)}};
}

}  // namespace stagecoach::cuda
