// The report as people read it on a terminal.
#pragma once

#include <string>

#include "trainer/report.h"

namespace stagecoach {

// At most 100 columns.
std::string to_text(const RunReport& report);

}  // namespace stagecoach
