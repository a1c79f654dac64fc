// A World of processes that are forked from a test, joined by socket pairs: the contract of a
// transport without MPI.
#pragma once

#include <functional>
#include <vector>

#include "comm/world.h"

namespace stagecoach::testing {

// Forks `size` processes, which run `body` each, and waits for all. Of each: its exit status, or
// 128 + the signal that ended it. A process whose body throws, or in which an expectation failed,
// ends with 1. The test has no other thread when it calls this.
std::vector<int> run_forked(int size, const std::function<void(World&)>& body);

}  // namespace stagecoach::testing
