// How many buffers a schedule needs: what check() returns, without its proof.
#pragma once

#include "pipeline/schedule/check.h"

namespace stagecoach {

// For a schedule that has passed check_tables(). Throws Error when ranks wait for each other.
BufferCounts buffer_counts_of(const Schedule& schedule);

// Fills in slots, received and gradient_slots: they follow from the order of each rank alone.
void count_own_buffers(const Schedule& schedule, BufferCounts& buffers);

}  // namespace stagecoach
