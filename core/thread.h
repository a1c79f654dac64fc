// Threads, or words about why there are none.
#pragma once

#include <functional>
#include <thread>

namespace stagecoach {

// Throws Error, saying what limits the number of threads, where the system starts no other one.
std::thread start_thread(std::function<void()> body);

}  // namespace stagecoach
