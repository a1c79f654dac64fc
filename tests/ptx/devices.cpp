#include "tests/ptx/devices.h"

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "tests/ptx/control.h"

namespace ptx {
namespace {

int initial_count() {
  const char* text = std::getenv("SIMULATED_CUDA_DEVICES");
  return text == nullptr ? 2 : std::atoi(text);
}

std::atomic<int> count = initial_count();
std::atomic<std::size_t> bytes_of_each = std::size_t{8} << 30;
std::atomic<std::chrono::nanoseconds> launch_delay = std::chrono::nanoseconds{0};
std::atomic<std::chrono::nanoseconds> wake_delay = std::chrono::nanoseconds{0};
std::atomic<int> wakes = 0;
std::atomic<bool> counts_time = false;
std::atomic<std::chrono::nanoseconds::rep> counted = 0;
std::atomic<long> staged = 0;
thread_local int current = 0;

std::mutex mutex;
std::set<int> touched;
std::set<std::pair<int, int>> impossible, enabled;

}  // namespace

void set_device_count(int value) {
  count = value;
}
int device_count() {
  return count;
}
void set_memory_bytes(std::size_t bytes) {
  bytes_of_each = bytes;
}
std::size_t memory_bytes() {
  return bytes_of_each;
}

int current_device() {
  return current;
}
bool set_current_device(int device) {
  if (device < 0 || device >= count) return false;
  current = device;
  return true;
}

void touch(int device) {
  std::lock_guard lock(mutex);
  touched.insert(device);
}
std::set<int> devices_touched() {
  std::lock_guard lock(mutex);
  return touched;
}
void forget_devices_touched() {
  std::lock_guard lock(mutex);
  touched.clear();
}

void set_peer_possible(int device, int other, bool possible) {
  std::lock_guard lock(mutex);
  if (possible) {
    impossible.erase({device, other});
  } else {
    impossible.insert({device, other});
  }
}
bool is_peer_possible(int device, int other) {
  std::lock_guard lock(mutex);
  return device != other && impossible.count({device, other}) == 0;
}
bool set_peer_access(int device, int other, bool enable) {
  std::lock_guard lock(mutex);
  return enable ? enabled.insert({device, other}).second : enabled.erase({device, other}) == 1;
}
bool has_peer_access(int device, int other) {
  std::lock_guard lock(mutex);
  return enabled.count({device, other}) == 1;
}

void set_launch_delay(std::chrono::nanoseconds delay) {
  launch_delay = delay;
}
void set_wake_delay(std::chrono::nanoseconds delay) {
  wake_delay = delay;
  wakes = 0;
}

void count_time(bool count) {
  counts_time = count;
}
std::chrono::steady_clock::time_point event_time() {
  if (!counts_time) return std::chrono::steady_clock::now();
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(counted));
}
void count_work() {
  if (counts_time) counted += std::chrono::nanoseconds(std::chrono::microseconds(1)).count();
}

void note_copy(int to_device, int from_device) {
  if (to_device == from_device) return;
  if (!has_peer_access(to_device, from_device) || !has_peer_access(from_device, to_device)) {
    ++staged;
  }
}
long staged_copies() {
  return staged;
}

// Busy, as a thread that launches is.
void spin(std::chrono::nanoseconds delay) {
  if (delay.count() == 0) return;
  const auto end = std::chrono::steady_clock::now() + delay;
  while (std::chrono::steady_clock::now() < end) {
  }
}
void delay_launch() {
  const std::chrono::nanoseconds delay = launch_delay;
  if (counts_time) {
    counted += delay.count();
  } else {
    spin(delay);
  }
}
void delay_wake() {
  if (wakes++ % 4 != 3) spin(wake_delay);
}

}  // namespace ptx
