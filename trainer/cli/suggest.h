// Suggestions for words that a user mistyped.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace stagecoach {

// "a, b or c".
std::string enumerate(const std::vector<std::string>& words);

// "did you mean 'WORD'?" with the nearest of `words` by edit distance: two letters may differ (one
// in words below four letters, a third in long ones). Empty when none is near.
std::string did_you_mean(std::string_view typed, const std::vector<std::string>& words);

}  // namespace stagecoach
