#include "core/available_cores.h"

#include <sched.h>

#include <algorithm>
#include <thread>

#include "core/control_group.h"

namespace stagecoach {

int available_cores() {
  auto cores = static_cast<int>(std::thread::hardware_concurrency());
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  const double quota = std::max(1.0, group_cores());
  return quota < cores ? static_cast<int>(quota) : std::max(1, cores);
}

}  // namespace stagecoach
