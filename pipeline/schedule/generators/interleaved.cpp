#include <algorithm>

#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/generators/table.h"

namespace stagecoach {
namespace {

// The groups in which micro-batches go through the chunks: all of a group through one chunk before
// the first of it enters the next. They share the micro-batches as evenly as they can, the larger
// ones first, with at least `ranks` in each: with fewer, a rank would wait for the first of a group
// to come back from the last rank.
std::vector<int> group_sizes(int ranks, int micro_batches) {
  const int groups = std::max(1, micro_batches / ranks);
  std::vector<int> sizes(groups, micro_batches / groups);
  for (int group = 0; group < micro_batches % groups; ++group) ++sizes[group];
  return sizes;
}

}  // namespace

// 1F1B over several chunks of the network on each rank, which divides the bubble by their number
// (Narayanan et al. 2021, arXiv:2104.04473, for M a multiple of K; these groups do for any M >= K).
// Backwards go through the chunks the other way. Of K ranks with V chunks, rank s runs
// 2 (K - s - 1) + (V - 1) G forwards ahead, the largest group being G: a group through all chunks
// but the last, and two for each rank after this one. With one chunk it is 1F1B. Two ranks with two
// chunks (F and BW, then f and bw), four micro-batches; F takes a column, BW two:
//
//   rank 0  F0 F1 f0 f1 F2 .  bw0-- F3 bw1-- f2 BW0-- f3 BW1-- .  bw2-- .  bw3-- BW2-- BW3--
//   rank 1  .  F0 F1 f0 bw0-- f1 bw1-- F2 BW0-- F3 BW1-- f2 bw2-- f3 bw3-- BW2-- BW3-- .  .
Schedule interleaved_schedule(int ranks, int micro_batches, int chunks) {
  Schedule schedule =
      empty_table(Generator::kInterleaved, "interleaved", ranks, micro_batches, chunks);
  const std::vector<int> groups = group_sizes(ranks, micro_batches);
  std::vector<int> order;  // the chunks of a rank's forwards, one after the other
  for (const int size : groups) {
    for (int chunk = 0; chunk < chunks; ++chunk) order.insert(order.end(), size, chunk);
  }
  const auto total = static_cast<int>(order.size());
  for (int rank = 0; rank < ranks; ++rank) {
    RankWriter row(schedule.ranks[rank], micro_batches);
    const int for_later_ranks = (chunks == 1 ? 1 : 2) * (ranks - rank - 1);
    const int ahead = std::min(for_later_ranks + (chunks - 1) * groups[0], total);
    for (int i = 0; i < ahead; ++i) row.forward(order[i] * ranks + rank);
    for (int i = 0; i < total; ++i) {
      if (i + ahead < total) row.forward(order[i + ahead] * ranks + rank);
      row.backward((chunks - 1 - order[i]) * ranks + rank);
    }
  }
  return schedule;
}

}  // namespace stagecoach
