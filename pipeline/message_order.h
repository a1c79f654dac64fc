// What the error of clocks leaves in a trace of several machines: a message that was received
// before it was sent.
#pragma once

#include <vector>

#include "pipeline/picture/trace.h"

namespace stagecoach {

// Of events of one step, those of each rank in its order; machine_of_rank: whose ranks share a
// clock. Moves all events of a machine later, by the least that lets no send end after its receive:
// as the time between two events of a machine is right, and only its offset is not. That is less
// than the clocks' bound, and nothing where their offsets obey the messages already. Where no
// offsets do, as a clock has jumped within the step, some of it is left.
void keep_messages_in_order(std::vector<TraceEvent>& events,
                            const std::vector<int>& machine_of_rank);

}  // namespace stagecoach
