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

// Who touched an allocation last, 4 bytes by 4 bytes.
class Touches;
std::shared_ptr<Touches> touches_of(const Allocation& allocation);
// The allocation is no more.
void forget_touches(const Allocation& allocation);

// The work `moment` touches bytes of the allocation, from `offset` on. Throws Fault, with the words
// of `who`, if that is a race. `moment` is kept for ever.
void touch(Touches& touches, const Allocation& allocation, std::size_t offset, std::size_t bytes,
           Access access, const std::shared_ptr<const Moment>& moment, const Who& who);

}  // namespace ptx
