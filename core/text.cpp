#include "core/text.h"

#include <fmt/format.h>

#include <cstddef>

namespace stagecoach {
namespace {

// Bytes of the well-formed character that `text` begins with (Unicode 15, table 3-7); 0: none.
std::size_t length_of(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  const auto tail = [&](std::size_t i) { return byte(i) >= 0x80 && byte(i) <= 0xBF; };
  if (first >= 0xC2 && first <= 0xDF) return tail(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned low = first == 0xE0 ? 0xA0 : 0x80, high = first == 0xED ? 0x9F : 0xBF;
    return second >= low && second <= high && tail(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned low = first == 0xF0 ? 0x90 : 0x80, high = first == 0xF4 ? 0x8F : 0xBF;
    return second >= low && second <= high && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

// C0 but tab and line feed, DEL, and C1: U+0080 to U+009F.
bool is_control(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1)
    return first == 0x7F || (first < 0x20 && first != '\t' && first != '\n');
  return first == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0;
}

template <typename Replace>
std::string cleaned(std::string_view text, const Replace& replace) {
  std::string clean;
  while (!text.empty()) {
    const std::size_t length = length_of(text);
    const std::string_view character = text.substr(0, length == 0 ? 1 : length);
    if (length == 0 || is_control(character)) {
      clean += replace(character);
    } else {
      clean += character;
    }
    text.remove_prefix(character.size());
  }
  return clean;
}

}  // namespace

std::string printable(std::string_view text) {
  return cleaned(text, [](std::string_view character) {
    std::string escaped;
    for (const char c : character) {
      escaped += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
    return escaped;
  });
}

std::string valid_utf8(std::string_view text) {
  return cleaned(text, [](std::string_view) { return "\xEF\xBF\xBD"; });
}

}  // namespace stagecoach
