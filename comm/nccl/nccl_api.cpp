#include "comm/nccl/nccl_api.h"

#include <type_traits>

#include "core/cuda/libraries.h"
#include "core/error.h"

namespace stagecoach {
namespace {

std::string version_text(int version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

NcclApi load() {
  static_assert(NCCL_MAJOR == 2);
  const DynamicLibrary library = cuda::open_nccl();
  NcclApi api{};
  const auto find = [&](auto& function, const char* name) {
    using Function = std::remove_pointer_t<std::remove_reference_t<decltype(function)>>;
    function = library.symbol<Function>(name);
  };
  find(api.get_version, "ncclGetVersion");
  find(api.get_unique_id, "ncclGetUniqueId");
  find(api.get_error_string, "ncclGetErrorString");
  find(api.get_last_error, "ncclGetLastError");
  find(api.init_rank, "ncclCommInitRankConfig");
  find(api.finalize, "ncclCommFinalize");
  find(api.destroy, "ncclCommDestroy");
  find(api.abort, "ncclCommAbort");
  find(api.get_async_error, "ncclCommGetAsyncError");
  find(api.group_start, "ncclGroupStart");
  find(api.group_end, "ncclGroupEnd");
  find(api.send, "ncclSend");
  find(api.receive, "ncclRecv");
  find(api.all_reduce, "ncclAllReduce");
  // An older one does not know all of the structure that a communicator is configured with.
  int version = 0;
  api.get_version(&version);
  STAGECOACH_CHECK(version >= NCCL_VERSION_CODE, "NCCL",
                   fmt::format("version {}, which this program was built for, or a newer one",
                               version_text(NCCL_VERSION_CODE)),
                   fmt::format("{} from {}", version_text(version), library.name()));
  return api;
}

}  // namespace

const NcclApi& nccl() {
  static const NcclApi api = load();  // once, and again after a failure
  return api;
}

}  // namespace stagecoach
