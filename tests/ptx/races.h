// Finds two pieces of work that touch the same 4 bytes, one of them by a store, and that nothing
// orders: what a missing event, or a missing edge of a graph, is. It does not depend on which of
// them ran first.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "tests/ptx/memory.h"
#include "tests/ptx/order.h"

namespace ptx {

// Whether races are looked for (control.h).
bool is_checking_races();

// The work `moment` touches bytes of the allocation, from `offset` on. Throws Fault, with the words
// of `who`, if that is a race.
void touch(const Allocation& allocation, std::size_t offset, std::size_t bytes, Access access,
           const std::shared_ptr<const Moment>& moment, const Who& who);
// The allocation is no more.
void forget_touches(const Allocation& allocation);

}  // namespace ptx
