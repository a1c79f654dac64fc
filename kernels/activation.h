// What an operation applies to its result before it writes it.
#pragma once

namespace stagecoach {

enum class Activation { kNone, kRelu };

}  // namespace stagecoach
