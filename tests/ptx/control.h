// What tests make the PTX GPUs be and do, and what they ask of them afterwards.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>

namespace ptx {

// How many GPUs there are: at first the environment's SIMULATED_CUDA_DEVICES, or 2; and the memory
// of each.
void set_device_count(int count);
void set_memory_bytes(std::size_t bytes);
std::size_t memory_bytes();

// Whether `device` may be given access to the memory of `other`: which is then for
// cudaDeviceEnablePeerAccess to ask. At first every pair may.
void set_peer_possible(int device, int other, bool possible);

// Copies between two GPUs of which one has no access to the other's memory: the driver makes them
// through the host's.
long staged_copies();

// The GPUs on which this process has a context: on a real machine, hundreds of MB on each.
std::set<int> devices_touched();
void forget_devices_touched();

// What each call takes of the host's time that launches a kernel, a copy or a graph; at first
// nothing.
void set_launch_delay(std::chrono::nanoseconds delay);

// Whether the times of events are counted instead of read off the host's clock: a launch takes its
// delay then, each piece of a GPU's work a microsecond, and nothing else takes any. Then no test of
// times depends on how fast the machine is.
void count_time(bool count);

// How much later than its event the host goes on that waits for one, of every four times three; at
// first not at all.
void set_wake_delay(std::chrono::nanoseconds delay);

// Whether races are looked for, which makes kernels much slower; at first, if
// STAGECOACH_PTX_RACES=1 is in the environment. Only ptx_test does, where it tests this:
// gpu_test_ptx is not run so.
void check_races(bool check);

// What kernels did while counting was on, by their names as a programmer writes them. An
// instruction is one of PTX, of one thread; a sector is 32 bytes of memory that the threads of a
// warp touch by one access. Sectors are counted as if the threads of a warp came to the n-th
// execution of an instruction together.
struct KernelCounts {
  std::uint64_t launches = 0, threads = 0, instructions = 0, sectors_loaded = 0, sectors_stored = 0;
};
void start_counting();
std::map<std::string, KernelCounts> stop_counting();

}  // namespace ptx
