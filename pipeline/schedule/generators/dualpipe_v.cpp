#include <queue>

#include "core/error.h"
#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/generators/table.h"

namespace stagecoach {

// DualPipe (DeepSeek-AI 2024, arXiv:2412.19437) cut in half: two stages on each rank, down the
// ranks and up again, instead of two copies of the network in opposite directions
// (github.com/deepseek-ai/DualPipe; the cut is by Sea AI Lab). DualPipe runs F of one micro-batch
// and BW of another as one, which hides their messages; here they come one after the other. Each
// rank holds what its two stages save for 2 K + 1 micro-batches together. Two ranks (F, B, W, BW
// down and f, b, w, bw up), four micro-batches; BW takes two columns, the others one:
//
//   rank 0  F0 F1 F2 f0 b0 w0 f1 F3 bw1-- f2 BW0-- bw2-- f3 .  BW1-- bw3-- B2 W2 B3 W3
//   rank 1  .  F0 f0 F1 f1 F2 bw0-- f2 BW0-- F3 bw1-- f3 BW1-- bw2-- BW2-- b3 B3 w3 W3
Schedule dualpipe_v_schedule(int ranks, int micro_batches) {
  Schedule schedule = empty_table(Generator::kDualPipeV, "dualpipe-v", ranks, micro_batches, 2);
  if (micro_batches / 2 < ranks) {
    throw UsageError("dualpipe-v schedule",
                     fmt::format("at least {} micro-batches on {} ranks", 2 * ranks, ranks),
                     std::to_string(micro_batches), "zb-v does with fewer");
  }
  for (int rank = 0; rank < ranks; ++rank) {
    RankWriter row(schedule.ranks[rank], micro_batches);
    const int down = rank, up = 2 * ranks - 1 - rank, after = ranks - rank - 1;
    for (int i = 0; i < 2 * after; ++i) row.forward(down);
    for (int i = 0; i <= rank; ++i) row.forward(down), row.forward(up);
    for (int i = 0; i < after; ++i) {
      row.backward_input(up), row.backward_weight(up), row.forward(up);
    }
    for (int i = 2 * ranks - rank - 1; i < micro_batches; ++i) {
      row.forward(down), row.backward(up), row.forward(up), row.backward(down);
    }
    for (int i = 0; i < after; ++i) row.backward(up), row.forward(up), row.backward(down);
    // No forwards are left. From the middle of these on, W waits for the end.
    std::queue<int> late;  // stages
    const auto backward_input = [&](int stage) { row.backward_input(stage), late.push(stage); };
    for (int i = 0; i < 2 * (rank + 1); ++i) {
      const int stage = i % 2 == 0 ? up : down;
      i <= rank ? row.backward(stage) : backward_input(stage);
    }
    for (int i = 0; i < after; ++i) {
      row.backward_weight(late.front()), late.pop();
      backward_input(down);
    }
    for (; !late.empty(); late.pop()) row.backward_weight(late.front());
  }
  return schedule;
}

}  // namespace stagecoach
