// core without CUDA: no GPU is found, and nothing can be made on one.
#include <cstdlib>

#include "core/buffer.h"
#include "core/cuda/backend.h"
#include "core/error.h"

namespace stagecoach::cuda {
namespace {

constexpr const char* kWhy = "this build has no CUDA";

[[noreturn]] void refuse(const char* what) {
  throw Error(what, "a build with CUDA (the preset cuda)", kWhy, "use --device cpu");
}

}  // namespace

int device_count(std::string* why_none) {
  if (why_none != nullptr) *why_none = kWhy;
  return 0;
}
DeviceInfo device_info(Device device) {
  refuse(device.to_string().c_str());
}
std::string runtime_versions() {
  return "";
}
std::unique_ptr<Stream> create_stream(Device) {
  refuse("Stream");
}
void* allocate(std::int64_t, Device) {
  refuse("Buffer");
}
void deallocate(void*, Device) noexcept {}
void copy(Stream&, void*, Device, const void*, Device, std::int64_t) {
  refuse("copy");
}
std::unique_ptr<Graph> capture(std::span<Stream* const>, const std::function<void()>&) {
  refuse("Graph");
}
void* allocate_pinned(std::int64_t) {
  refuse("Buffer::pinned");
}
void deallocate_pinned(void*) noexcept {}

}  // namespace stagecoach::cuda
