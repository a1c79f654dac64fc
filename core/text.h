// Text that came from users: names of files may be any bytes but zero, and what is in files too.
#pragma once

#include <string>
#include <string_view>

namespace stagecoach {

// For a terminal: bytes that are no UTF-8 and characters that would steer it become \x1b; lines and
// tabs stay.
std::string printable(std::string_view text);

// For formats that must be UTF-8 without control characters, such as XML: what printable() writes
// as \x1b becomes U+FFFD, the replacement character.
std::string valid_utf8(std::string_view text);

}  // namespace stagecoach
