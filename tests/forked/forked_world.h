// A World of processes that are forked from a test, joined by socket pairs: the contract of a
// transport without MPI.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "comm/world.h"

namespace stagecoach::testing {

// Forks `size` processes, which run `body` each, and waits for all. Of each: its exit status, or
// 128 + the signal that ended it. A process whose body throws, or in which an expectation failed,
// ends with 1. The test has no other thread when it calls this. `before`: runs in each process with
// its number, while it has no other thread.
std::vector<int> run_forked(int size, const std::function<void(World&)>& body,
                            const std::function<void(int)>& before = {});

// Ends a forked process, whatever its threads do: behind _exit(), ThreadSanitizer would complain of
// those that run.
[[noreturn]] void end_process(int status);

// Of this process, which has no other thread: its clock is so many seconds ahead from then on, as
// that of a machine which was started earlier. Empty, or why that cannot be: it takes Linux 5.6 and
// root.
std::string set_clock_ahead(int seconds);

}  // namespace stagecoach::testing
