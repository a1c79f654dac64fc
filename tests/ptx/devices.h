// The GPUs: how many, which one is current in a thread, who reaches whose memory.
#pragma once

#include <chrono>

namespace ptx {

int device_count();
// Of the calling thread.
int current_device();
// False where there is no such GPU.
bool set_current_device(int device);

// Notes that the process has a context on it, as any call makes that needs one.
void touch(int device);

// Whether `device` may be given access to the memory of `other`; gives it or takes it, false where
// that was so before; whether it has it.
bool is_peer_possible(int device, int other);
bool set_peer_access(int device, int other, bool enable);
bool has_peer_access(int device, int other);

// Notes a copy between two GPUs, if it goes through the host's memory.
void note_copy(int to_device, int from_device);

// What events say: the host's clock, or the time that was counted (control.h). What a piece of a
// GPU's work takes is added to that.
std::chrono::steady_clock::time_point event_time();
void count_work();

// Waits as long as a launch takes of the host's time, or as the host sleeps on.
void delay_launch();
void delay_wake();

}  // namespace ptx
