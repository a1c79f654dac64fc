#include <algorithm>

#include "pipeline/schedules/table.h"

namespace stagecoach {
namespace {

// The chunks of a rank's forwards, one after the other: a group of micro-batches goes through all
// chunks before the next group starts. Groups share the micro-batches as evenly as they can, the
// larger ones first, with at least `ranks` in each: with fewer, a rank would wait for the first of
// a group to come back from the last rank.
std::vector<int> chunks_of_forwards(int ranks, int micro_batches, int chunks) {
  const int groups = std::max(1, micro_batches / ranks);
  std::vector<int> order;
  for (int group = 0; group < groups; ++group) {
    const int size = micro_batches / groups + (group < micro_batches % groups ? 1 : 0);
    for (int chunk = 0; chunk < chunks; ++chunk) order.insert(order.end(), size, chunk);
  }
  return order;
}

}  // namespace

// 1F1B over several chunks of the network on each rank, which makes the bubble shorter by their
// number (Narayanan et al. 2021, arXiv:2104.04473). Backwards go through the chunks the other way.
// A rank runs 2 (K - s - 1) + (V - 1) G forwards ahead, G micro-batches in a group: those that go
// through all chunks but the last before the first backward, and one to and fro for every rank
// after this one. With one chunk it is 1F1B. Two ranks with two chunks (F and BW, then f and bw),
// four micro-batches; F takes a column, BW two:
//
//   rank 0  F0 F1 f0 f1 F2 F3 f2 .  bw0-- f3 bw1-- .  BW0-- .  BW1-- bw2-- bw3-- BW2-- BW3--
//   rank 1  .  F0 F1 f0 f1 F2 bw0-- F3 bw1-- f2 BW0-- f3 BW1-- bw2-- bw3-- BW2-- BW3-- .  .
Schedule interleaved_schedule(int ranks, int micro_batches, int chunks) {
  Schedule schedule = empty_table("interleaved", ranks, micro_batches, chunks);
  const std::vector<int> order = chunks_of_forwards(ranks, micro_batches, chunks);
  const auto total = static_cast<int>(order.size());
  const auto group = static_cast<int>(std::ranges::count(order, 0));
  for (int rank = 0; rank < ranks; ++rank) {
    RankWriter row(schedule.ranks[rank], micro_batches);
    const int for_later_ranks = (chunks == 1 ? 1 : 2) * (ranks - rank - 1);
    const int ahead = std::min(for_later_ranks + (chunks - 1) * group, total);
    for (int i = 0; i < ahead; ++i) row.forward(order[i] * ranks + rank);
    for (int i = 0; i < total; ++i) {
      if (i + ahead < total) row.forward(order[i + ahead] * ranks + rank);
      row.backward((chunks - 1 - order[i]) * ranks + rank);
    }
  }
  return schedule;
}

}  // namespace stagecoach
