// Whether a weight gradient replaces what is there or is added to it.
#pragma once

namespace stagecoach {

enum class GradientMode { kOverwrite, kAccumulate };

}  // namespace stagecoach
