// libcudart's calls about versions, devices and errors.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "tests/ptx/control.h"
#include "tests/ptx/devices.h"
#include "tests/ptx/faults.h"
#include "tests/ptx/memory.h"

using ptx::current_device;

extern "C" {

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidDeviceFunction:
      return "cudaErrorInvalidDeviceFunction";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorPeerAccessUnsupported:
      return "cudaErrorPeerAccessUnsupported";
    case cudaErrorPeerAccessAlreadyEnabled:
      return "cudaErrorPeerAccessAlreadyEnabled";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorMisalignedAddress:
      return "cudaErrorMisalignedAddress";
    case cudaErrorLaunchTimeout:
      return "cudaErrorLaunchTimeout";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated:
      return "cudaErrorStreamCaptureInvalidated";
    case cudaErrorStreamCaptureUnjoined:
      return "cudaErrorStreamCaptureUnjoined";
    case cudaErrorStreamCaptureIsolation:
      return "cudaErrorStreamCaptureIsolation";
    default:
      return "another error";
  }
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == ptx::fault_status() ? ptx::fault_words() : "(PTX on the CPU)";
}
cudaError_t cudaGetLastError() {
  return ptx::fault_status();
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = ptx::device_count() > 0 ? CUDART_VERSION : 0;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  if (ptx::device_count() == 0) return cudaErrorInsufficientDriver;  // leaves `count` alone
  *count = ptx::device_count();
  return cudaSuccess;
}
// Makes a context, since CUDA 12.
cudaError_t cudaSetDevice(int device) {
  if (!ptx::set_current_device(device)) return cudaErrorInvalidDevice;
  ptx::touch(device);
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current_device();
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= ptx::device_count()) return cudaErrorInvalidDevice;
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "PTX on the CPU");
  properties->major = 9;
  properties->minor = 0;
  properties->multiProcessorCount = 132;
  properties->totalGlobalMem = ptx::memory_bytes();
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  ptx::touch(current_device());
  *total = ptx::memory_bytes();
  *free = *total - std::min(*total, ptx::used_bytes(current_device()));
  return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int other) {
  const int count = ptx::device_count();
  if (device < 0 || other < 0 || device >= count || other >= count) return cudaErrorInvalidDevice;
  *can = ptx::is_peer_possible(device, other) ? 1 : 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceEnablePeerAccess(int other, unsigned flags) {
  if (flags != 0) return cudaErrorInvalidValue;
  if (other < 0 || other >= ptx::device_count()) return cudaErrorInvalidDevice;
  if (!ptx::is_peer_possible(current_device(), other)) return cudaErrorPeerAccessUnsupported;
  ptx::touch(other);
  return ptx::set_peer_access(current_device(), other, true) ? cudaSuccess
                                                             : cudaErrorPeerAccessAlreadyEnabled;
}
cudaError_t cudaDeviceDisablePeerAccess(int other) {
  return ptx::set_peer_access(current_device(), other, false) ? cudaSuccess
                                                              : cudaErrorPeerAccessNotEnabled;
}

}  // extern "C"
