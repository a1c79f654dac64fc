#include "trainer/cli/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace stagecoach {
namespace {

// Levenshtein's distance: insertions, deletions and replacements.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);  // distances of a's first i letters to b's first j
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string enumerate(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " or " : ", ";
    text += words[i];
  }
  return text;
}

std::string did_you_mean(std::string_view typed, const std::vector<std::string>& words) {
  const std::size_t allowed = std::max<std::size_t>(typed.size() / 3, typed.size() < 4 ? 1 : 2);
  std::size_t best = allowed + 1;
  std::string nearest;
  for (const std::string& word : words) {
    const std::size_t distance = edit_distance(typed, word);
    if (distance < best) {
      best = distance;
      nearest = word;
    }
  }
  return nearest.empty() ? "" : fmt::format("did you mean '{}'?", nearest);
}

}  // namespace stagecoach
