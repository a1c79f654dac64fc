// Collectives: calls that every process of a job makes in the same order, each kind from one
// thread. For what is small: results, decisions, summaries. They block, and throw what ends a
// transfer.
#pragma once

#include <cstddef>
#include <vector>

#include "comm/world.h"

namespace stagecoach {

using ByteVector = std::vector<std::byte>;

// In process 0: what each gave, by its number. Elsewhere: nothing.
std::vector<ByteVector> gather(World& world, const ByteVector& own,
                               MessageKind kind = MessageKind::kCollective);
// What process `root` gave; what the others give does not count.
ByteVector broadcast(World& world, ByteVector bytes, int root = 0,
                     MessageKind kind = MessageKind::kCollective);
// gather() and broadcast() of all.
std::vector<ByteVector> all_gather(World& world, const ByteVector& own,
                                   MessageKind kind = MessageKind::kCollective);
// Returns when every process has called it.
void barrier(World& world);

}  // namespace stagecoach
