#!/usr/bin/env python3
"""Writes PyTorch's own pipeline schedules, for tests/pipeline/schedule/schedule_file_test.cpp.

usage: make_schedule_fixtures.py FOLDER     (needs torch; made with 2.15.0, without a GPU)

The classes of torch.distributed.pipelining.schedules are given stages that know no more than their
place, so there is neither a model nor a process group, and compute the tables of all ranks at once.
Each is written by PyTorch's _dump_csv, twice:

  SCHEDULE_kK_vV_mM.csv         F, I, W, B and OVERLAP_F_B alone ("compute_only"); empty cells wait
  SCHEDULE_kK_vV_mM_comms.csv   what its runtime runs ("compute_comms"): with sends and receives,
                                UNSHARD and RESHARD, REDUCE_GRAD, and the WAIT_... of all those

K: ranks, V: stages on each, M: micro-batches. Both are loaded again before they count as written.
"""
import os
import sys

import torch
from torch.distributed.pipelining import schedules

# Name, class, ranks, stages on each, micro-batches.
CASES = [
    ("interleaved", schedules.ScheduleInterleaved1F1B, 2, 2, 4),
    ("interleaved", schedules.ScheduleInterleaved1F1B, 4, 2, 8),
    ("interleaved", schedules.ScheduleInterleaved1F1B, 2, 3, 4),
    ("looped_bfs", schedules.ScheduleLoopedBFS, 2, 2, 4),
    ("interleaved_zb", schedules.ScheduleInterleavedZeroBubble, 2, 2, 4),
    ("interleaved_zb", schedules.ScheduleInterleavedZeroBubble, 4, 2, 8),
    ("zb_v", schedules.ScheduleZBVZeroBubble, 2, 2, 4),
    ("zb_v", schedules.ScheduleZBVZeroBubble, 4, 2, 8),
    ("dualpipe_v", schedules.ScheduleDualPipeV, 2, 2, 5),
    ("dualpipe_v", schedules.ScheduleDualPipeV, 4, 2, 10),
]


class Place:
    """What a schedule asks of a stage before it runs."""

    def __init__(self, index, ranks, stages):
        self.stage_index, self.num_stages = index, stages
        self.group_rank, self.group_size = 0, ranks
        self.is_first, self.is_last = index == 0, index == stages - 1
        self.submod = torch.nn.Identity()


def make(kind, ranks, chunks, micro_batches):
    stages = ranks * chunks
    # Rank 0's own; where a schedule puts them, it says itself.
    own = [Place(index, ranks, stages) for index in range(0, stages, ranks)]
    return kind(own, micro_batches)


def main(folder):
    os.makedirs(folder, exist_ok=True)
    for name, kind, ranks, chunks, micro_batches in CASES:
        for form, ending in (("compute_only", ""), ("compute_comms", "_comms")):
            file = f"{folder}/{name}_k{ranks}_v{chunks}_m{micro_batches}{ending}.csv"
            make(kind, ranks, chunks, micro_batches)._dump_csv(file, format=form)
            make(kind, ranks, chunks, micro_batches)._load_csv(file, format=form)
            print(file, os.path.getsize(file), "bytes, torch", torch.__version__)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
