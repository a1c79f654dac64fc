// Schedules as text for people.
#pragma once

#include <string>
#include <string_view>

#include "pipeline/schedule/schedule.h"

namespace stagecoach {

// The text form: a line for each rank, its actions in order between blanks, each as by
// Action::to_string(): "0F3 0SEND_F3 0B3 0W3 1BW2 0STEP". Before them "rank 0:" may stand; from '#'
// on a line is a comment; empty lines are none. `name` stands in errors and in the result.
Schedule schedule_from_text(std::string_view text, const std::string& name);

}  // namespace stagecoach
