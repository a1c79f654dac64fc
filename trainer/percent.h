// Fractions as the reports print them.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <string>

namespace stagecoach {

// 0.126 as "12.6 %".
inline std::string percent(double fraction) {
  if (std::abs(fraction) < 0.0005) fraction = 0;  // no "-0.0 %"
  return fmt::format("{:.1f} %", 100 * fraction);
}

}  // namespace stagecoach
