// Schedules as files: a text form for people, and the CSV of torch.distributed.pipelining.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "pipeline/schedule.h"

namespace stagecoach {

// Reads either form: a file whose name ends in ".csv" is PyTorch's, any other one the text form.
// The result has stages and micro-batches counted from its actions, the file's name, and its lines.
// It is not checked yet (see check()). Throws Error naming file, line and rank, and the cell or
// word that is none.
Schedule read_schedule(const std::filesystem::path& file);

// The text form: a line for each rank, its actions in order between blanks, each as by
// Action::to_string(): "0F3 0SEND_F3 0B3 0W3 1BW2 0STEP". Before them "rank 0:" may stand; from '#'
// on a line is a comment; empty lines are none. `name` stands in errors and in the result.
Schedule schedule_from_text(std::string_view text, const std::string& name);

// PyTorch's form (_dump_csv, _load_csv): a line for each rank, a cell for each action: "0F3", "0I3"
// (our B), "0W3", "0B3" (our BW), "0SEND_F3", ..., "0REDUCE_GRAD". Empty cells are waits, of which
// a schedule has none of its own. "(0F1;1B0)OVERLAP_F_B" is both one after the other, as its
// runtime runs them. UNSHARD and RESHARD, of sharded weights, do nothing here and are left out.
Schedule schedule_from_csv(std::string_view text, const std::string& name);
// Without our STEP and R, which that form does not have.
std::string to_csv(const Schedule& schedule);

}  // namespace stagecoach
