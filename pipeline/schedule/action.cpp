#include "pipeline/schedule/action.h"

#include <fmt/format.h>

namespace stagecoach {

std::string Action::to_string() const {
  if (is_per_stage(kind)) return fmt::format("{}{}", stage, name_of(kind));
  return fmt::format("{}{}{}", stage, name_of(kind), micro_batch);
}

}  // namespace stagecoach
