// A block whose threads wait for each other.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/ptx/machine.h"

namespace ptx {

// Runs all threads of a block from wait to wait: each as far as it comes, then the shuffles of the
// warps whose members have all come to theirs, then the barrier that all threads have come to.
// Throws Fault, with the words for a thread, where some wait for what will not come: an ended
// thread is not waited for at a barrier, but is missed in a shuffle.
void run_block_in_phases(const Kernel& kernel, std::vector<Thread>& threads,
                         const std::function<std::string(const Thread&)>& words_of);

}  // namespace ptx
