// Cores as the scheduler gives them.
#pragma once

namespace stagecoach {

// On how many cores this process may compute at a time: those that its affinity names, and no more
// than the quota of its control groups pays for, in whole ones. At least 1.
int available_cores();

}  // namespace stagecoach
