#include "kernels/cuda/cublaslt_api.h"

#include <type_traits>

#include "core/cuda/libraries.h"
#include "core/error.h"

namespace stagecoach::cuda {
namespace {

std::string version_text(std::size_t version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

CublasLtApi load() {
  // Other major versions have other structures.
  static_assert(CUBLAS_VER_MAJOR == 13);
  const DynamicLibrary library = open_cublaslt();
  CublasLtApi api{};
  const auto find = [&](auto& function, const char* name) {
    using Function = std::remove_pointer_t<std::remove_reference_t<decltype(function)>>;
    function = library.symbol<Function>(name);
  };
  find(api.get_version, "cublasLtGetVersion");
  find(api.get_status_name, "cublasLtGetStatusName");
  find(api.get_status_string, "cublasLtGetStatusString");
  find(api.create, "cublasLtCreate");
  find(api.destroy, "cublasLtDestroy");
  find(api.create_operation, "cublasLtMatmulDescCreate");
  find(api.destroy_operation, "cublasLtMatmulDescDestroy");
  find(api.set_operation, "cublasLtMatmulDescSetAttribute");
  find(api.get_operation, "cublasLtMatmulDescGetAttribute");
  find(api.create_layout, "cublasLtMatrixLayoutCreate");
  find(api.destroy_layout, "cublasLtMatrixLayoutDestroy");
  find(api.get_layout, "cublasLtMatrixLayoutGetAttribute");
  find(api.create_preference, "cublasLtMatmulPreferenceCreate");
  find(api.destroy_preference, "cublasLtMatmulPreferenceDestroy");
  find(api.set_preference, "cublasLtMatmulPreferenceSetAttribute");
  find(api.choose_algorithm, "cublasLtMatmulAlgoGetHeuristic");
  find(api.multiply, "cublasLtMatmul");
  STAGECOACH_CHECK(api.get_version() / 10000 == CUBLAS_VER_MAJOR, "cuBLASLt",
                   fmt::format("version {}, which this program was built for", CUBLAS_VER_MAJOR),
                   fmt::format("{} from {}", version_text(api.get_version()), library.name()));
  return api;
}

}  // namespace

const CublasLtApi& cublaslt() {
  static const CublasLtApi api = load();  // once, and again after a failure
  return api;
}

std::string cublaslt_version_text() {
  return version_text(cublaslt().get_version());
}

void check_cublaslt(cublasStatus_t status, const char* call, std::source_location place) {
  if (status == CUBLAS_STATUS_SUCCESS) [[likely]] {
    return;
  }
  throw Error("cuBLASLt", fmt::format("{} to succeed", call),
              fmt::format("{}: {}", cublaslt().get_status_name(status),
                          cublaslt().get_status_string(status)),
              "", place);
}

}  // namespace stagecoach::cuda
