#include "comm/device_link.h"

#include <map>
#include <thread>

#include "core/error.h"

namespace stagecoach {
namespace {

std::map<DeviceType, MakeDeviceLinks>& makers() {
  static std::map<DeviceType, MakeDeviceLinks> all;
  return all;
}

}  // namespace

void DeviceLinks::wait(const Event& event) {
  try {
    poll("work of a device with other processes", [&] {
      const bool reached = event.reached();
      check();  // also where it is: what failed is skipped
      return reached;
    });
  } catch (...) {
    abort();
    throw;
  }
  event.synchronize();
}

void DeviceLinks::pause(const char* operation, Clock::time_point deadline) const {
  check_job();
  STAGECOACH_CHECK(
      Clock::now() < deadline, operation,
      fmt::format("its end within {} s", std::chrono::duration<double>(patience_).count()), "none",
      "a process may wait for what no other one sends");
  std::this_thread::sleep_for(std::chrono::microseconds(20));
}

// Every transfer ends with the error of the job.
void DeviceLinks::check_job() const {
  if (!world_.is_aborted()) return;
  const int other = (world_.rank() + 1) % world_.size();
  world_.receive(other, tag_of(MessageKind::kLinks), {}).wait();
  throw PeerError("a device's work with other processes", "no failure", "the end of the job");
}

void DeviceLinks::give_way_to_the_job() {
  for (int i = 0; i < 100; ++i) {
    check_job();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

std::unique_ptr<DeviceLinks> make_device_links(World& world, Device device,
                                               std::chrono::milliseconds patience) {
  const auto found = makers().find(device.type);
  STAGECOACH_CHECK(found != makers().end(), "ranks in several processes",
                   fmt::format("a transport between processes for {}", device.to_string()),
                   "none in this program", "build with CUDA and NCCL's header, or train on CPUs");
  return found->second(world, device, patience);
}

bool register_device_links(DeviceType type, MakeDeviceLinks make) {
  makers()[type] = make;
  return true;
}

}  // namespace stagecoach
