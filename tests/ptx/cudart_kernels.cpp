// libcudart's calls about kernels: what nvcc's objects register when the program starts, and
// launches.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <cstdlib>
#include <map>
#include <memory>

#include "tests/ptx/devices.h"
#include "tests/ptx/launch.h"
#include "tests/ptx/streams.h"

namespace ptx {
namespace {

// The linker's names of kernels, by the function that stands for each on the host.
std::map<const void*, std::string>& names() {
  static auto& all = *new std::map<const void*, std::string>;
  return all;
}

const Kernel* kernel_of(const void* function) {
  const auto found = names().find(function);
  return found == names().end() ? nullptr : find_kernel(found->second);
}

// Nobody calls these here: kernels are started by launch() of kernels/cuda/launch.h.
[[noreturn]] void not_here(const char* call) {
  fmt::print(stderr, "[ptx] {} is not there: start kernels by cudaLaunchKernelEx\n", call);
  std::abort();
}

}  // namespace
}  // namespace ptx

extern "C" {

void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char* function, char*, const char* name, int, uint3*,
                            uint3*, dim3*, dim3*, int*) {
  ptx::names()[function] = name;
}
cudaError_t __cudaGetKernel(cudaKernel_t*, const void*) {
  ptx::not_here("__cudaGetKernel");
}
cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3, dim3, void**, std::size_t, cudaStream_t) {
  ptx::not_here("__cudaLaunchKernel");
}
cudaError_t __cudaPopCallConfiguration(dim3*, dim3*, std::size_t*, void*) {
  ptx::not_here("__cudaPopCallConfiguration");
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, const void* function) {
  return ptx::kernel_of(function) == nullptr ? cudaErrorInvalidDeviceFunction : cudaSuccess;
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function,
                                void** arguments) {
  ptx::delay_launch();
  const ptx::Kernel* kernel = ptx::kernel_of(function);
  if (kernel == nullptr) return cudaErrorInvalidDeviceFunction;
  // Shared: as work is copied where a graph is made.
  const auto launch = std::make_shared<ptx::Launch>(*kernel, config->gridDim, config->blockDim,
                                                    config->dynamicSmemBytes, arguments);
  const cudaError_t status = launch->check();
  if (status != cudaSuccess) return status;
  return ptx::enqueue(config->stream, "kernel " + ptx::readable_name(*kernel),
                      [launch] { launch->run(ptx::working_device()); });
}

}  // extern "C"
