// The functions of cuDNN 9 that Stagecoach calls, looked up when first needed: a program that was
// built with CUDA also starts where cuDNN is not installed.
#pragma once

#include <cudnn.h>

#include <source_location>
#include <string>

namespace stagecoach::cuda {

struct CudnnApi {
  decltype(&::cudnnGetVersion) get_version;
  decltype(&::cudnnGetErrorString) get_error_string;
  decltype(&::cudnnGetLastErrorString) get_last_error_string;
  decltype(&::cudnnCreate) create;
  decltype(&::cudnnDestroy) destroy;
  decltype(&::cudnnSetStream) set_stream;
  decltype(&::cudnnBackendCreateDescriptor) create_descriptor;
  decltype(&::cudnnBackendDestroyDescriptor) destroy_descriptor;
  decltype(&::cudnnBackendSetAttribute) set_attribute;
  decltype(&::cudnnBackendGetAttribute) get_attribute;
  decltype(&::cudnnBackendFinalize) finalize;
  decltype(&::cudnnBackendExecute) execute;
};

// Loads cuDNN at the first call; from any thread. Throws Error when it is missing or another major
// version than the headers of this build.
const CudnnApi& cudnn();

// Of the library that was loaded: "9.19.0".
std::string cudnn_version_text();

// Throws Error naming the call, the status, cuDNN's own explanation and the place, unless `status`
// is success.
void check_cudnn(cudnnStatus_t status, const char* call,
                 std::source_location place = std::source_location::current());

}  // namespace stagecoach::cuda

#define STAGECOACH_CUDNN_CHECK(call) ::stagecoach::cuda::check_cudnn((call), #call)
