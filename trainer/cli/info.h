// `stagecoach info`.
#pragma once

#include <string>

namespace stagecoach {

// What this machine and this build have.
std::string info_text();

}  // namespace stagecoach
