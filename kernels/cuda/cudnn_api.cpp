#include "kernels/cuda/cudnn_api.h"

#include <array>
#include <type_traits>

#include "core/cuda/libraries.h"
#include "core/error.h"

namespace stagecoach::cuda {
namespace {

std::string version_text(std::size_t version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

CudnnApi load() {
  const DynamicLibrary library = open_cudnn();
  CudnnApi api{};
  const auto find = [&](auto& function, const char* name) {
    function =
        library.symbol<std::remove_pointer_t<std::remove_reference_t<decltype(function)>>>(name);
  };
  find(api.get_version, "cudnnGetVersion");
  find(api.get_error_string, "cudnnGetErrorString");
  find(api.get_last_error_string, "cudnnGetLastErrorString");
  find(api.create, "cudnnCreate");
  find(api.destroy, "cudnnDestroy");
  find(api.set_stream, "cudnnSetStream");
  find(api.create_descriptor, "cudnnBackendCreateDescriptor");
  find(api.destroy_descriptor, "cudnnBackendDestroyDescriptor");
  find(api.set_attribute, "cudnnBackendSetAttribute");
  find(api.get_attribute, "cudnnBackendGetAttribute");
  find(api.finalize, "cudnnBackendFinalize");
  find(api.execute, "cudnnBackendExecute");
  STAGECOACH_CHECK(api.get_version() / 10000 == CUDNN_MAJOR, "cuDNN",
                   fmt::format("version {}, which this program was built for", CUDNN_MAJOR),
                   fmt::format("{} from {}", version_text(api.get_version()), library.name()));
  return api;
}

}  // namespace

const CudnnApi& cudnn() {
  static const CudnnApi api = load();  // once, and again after a failure
  return api;
}

std::string cudnn_version_text() {
  return version_text(cudnn().get_version());
}

void check_cudnn(cudnnStatus_t status, const char* call, std::source_location place) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 1024> reason{};
  cudnn().get_last_error_string(reason.data(), reason.size());
  throw Error("cuDNN", fmt::format("{} to succeed", call),
              fmt::format("{} ({})", cudnn().get_error_string(status), reason.data()), "", place);
}

}  // namespace stagecoach::cuda
