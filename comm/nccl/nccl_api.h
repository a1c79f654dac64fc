// The functions of NCCL that Stagecoach calls, looked up when first needed: a program that was
// built with CUDA also starts where NCCL is not installed. Included by the files of comm/nccl only.
#pragma once

#include <nccl.h>

namespace stagecoach {

struct NcclApi {
  decltype(&::ncclGetVersion) get_version;
  decltype(&::ncclGetUniqueId) get_unique_id;
  decltype(&::ncclGetErrorString) get_error_string;
  decltype(&::ncclGetLastError) get_last_error;
  decltype(&::ncclCommInitRankConfig) init_rank;
  decltype(&::ncclCommFinalize) finalize;
  decltype(&::ncclCommDestroy) destroy;
  decltype(&::ncclCommAbort) abort;
  decltype(&::ncclCommGetAsyncError) get_async_error;
  decltype(&::ncclGroupStart) group_start;
  decltype(&::ncclGroupEnd) group_end;
  decltype(&::ncclSend) send;
  decltype(&::ncclRecv) receive;
  decltype(&::ncclAllReduce) all_reduce;
};

// Loads NCCL at the first call; from any thread. Throws Error when it is missing or older than the
// header of this build.
const NcclApi& nccl();

}  // namespace stagecoach
