// The generators of schedules, one in each file of the folder generators.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pipeline/schedule/schedule.h"

namespace stagecoach {

// Compute-only tables. `ranks`, `micro_batches` >= 1 (Error otherwise). Micro-batches have their W
// in ascending order (of a group where stages have replicas), so gradients are summed in one order.
//
// One stage on each rank, BW throughout:
Schedule naive_schedule(int ranks, int micro_batches);
Schedule gpipe_schedule(int ranks, int micro_batches);
Schedule one_f_one_b_schedule(int ranks, int micro_batches);
// One stage on each rank, B and W apart:
Schedule zb_h1_schedule(int ranks, int micro_batches);
// `chunks` stages on each rank, looping (stage s on rank s % ranks), BW throughout:
Schedule interleaved_schedule(int ranks, int micro_batches, int chunks);
// Two stages on each rank, in a V (rank r has the stages r and 2 ranks - 1 - r):
Schedule zb_v_schedule(int ranks, int micro_batches);
Schedule dualpipe_v_schedule(int ranks, int micro_batches);
// F only, one stage on each rank: evaluation.
Schedule forward_only_schedule(int ranks, int micro_batches);

// "naive", "gpipe" or "1f1b" with one stage on a rank, of which stage s is on replicas[s] ranks,
// each number a power of two: the ranks of the first stage, those of the second, ...
// `micro_batches`: of a replica of the stage that has most; the table has those of all of these.
// Throws UsageError for other names and numbers.
Schedule make_replicated_schedule(std::string_view name, const std::vector<int>& replicas,
                                  int micro_batches);

// By the names of the command line. `chunks`: stages on each rank; 0 takes the schedule's own
// number. Throws UsageError for a name that is none, listing them, and for a number of chunks or
// micro-batches that the schedule cannot have, saying which would do.
Schedule make_schedule(std::string_view name, int ranks, int micro_batches, int chunks = 0);
// Stages on each rank of the schedule of this name, unless asked for others: 1 or 2.
int default_chunks(std::string_view name);
// naive, gpipe, 1f1b, interleaved, zb-h1, zb-v, dualpipe-v: those that train.
std::vector<std::string> schedule_names();

}  // namespace stagecoach
