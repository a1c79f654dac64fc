// NVIDIA's libraries that are loaded when they are first needed: the only place for their names.
#pragma once

#include "core/dynamic_library.h"

namespace stagecoach::cuda {

// Of the versions that this program is built for: others have other structures. Error where there
// is none.
DynamicLibrary open_cudnn();
DynamicLibrary open_cublaslt();
DynamicLibrary open_nccl();

}  // namespace stagecoach::cuda
