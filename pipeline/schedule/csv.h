// Schedules as the CSV of torch.distributed.pipelining.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pipeline/schedule/schedule.h"

namespace stagecoach {

// PyTorch's form (_dump_csv, _load_csv): a line for each rank, a cell for each action: "0F3", "0I3"
// (our B), "0W3", "0B3" (our BW), "0SEND_F3", ..., "0REDUCE_GRAD". Every line is a rank.
//
// "(0F1;1B0)OVERLAP_F_B" becomes both one after the other, as its runtime runs them; a send that
// follows it comes right after the part that makes the message. Left out: empty cells, waits, of
// which a schedule has none of its own; UNSHARD and RESHARD of sharded weights; WAIT_SEND_F,
// WAIT_SEND_B and WAIT_REDUCE_GRAD, since sends and sums end by themselves here. Of PyTorch's
// schedules, LoopedBFS alone can be simulated but not trained with: its backwards come in
// descending order.
Schedule schedule_from_csv(std::string_view text, const std::string& name,
                           std::vector<std::string>* notes = nullptr);

// What PyTorch loads: of a table without communication by _load_csv(file, "compute_only"), with any
// release; of one with communication by _load_csv(file, "compute_comms") of 2.15, which demands a
// WAIT_SEND for every send (here: at the rank's end), and a REDUCE_GRAD of every stage, which
// divides its gradients by the number of micro-batches. STEP is left out: PyTorch steps after its
// schedule. Throws Error for a table with R, or with a stage on several ranks, which that form does
// not have, or without B and W, which PyTorch refuses.
std::string to_csv(const Schedule& schedule);

}  // namespace stagecoach
