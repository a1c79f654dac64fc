// Whether a thread of this process waits.
#pragma once

#include <fmt/format.h>
#include <sys/types.h>

#include <chrono>
#include <fstream>
#include <string>
#include <thread>

namespace stagecoach::testing {

// Returns when `thread` waits for something: a lock, another thread, the time.
inline void wait_until_waiting(pid_t thread) {
  const std::string file = fmt::format("/proc/self/task/{}/stat", thread);
  for (;;) {
    std::string text;
    std::getline(std::ifstream(file), text);
    const auto state = text.rfind(") ");  // the thread's name may be anything
    if (state == std::string::npos || text[state + 2] == 'S') return;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace stagecoach::testing
