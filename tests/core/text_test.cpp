#include "core/text.h"

#include <gtest/gtest.h>

namespace stagecoach {
namespace {

TEST(Text, LeavesWhatIsPlain) {
  for (const std::string plain : {"", "a b\n\tc", "caf\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x90\x8E",
                                  "\xED\x9F\xBF", "\xEE\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_EQ(printable(plain), plain);
    EXPECT_EQ(valid_utf8(plain), plain);
  }
}

TEST(Text, ReplacesWhatSteersATerminalOrIsNoUtf8) {
  const std::string replaced = "\xEF\xBF\xBD";
  const struct {
    std::string text, printable, valid;
  } cases[] = {
      {"a\x1b[2J", "a\\x1b[2J", "a" + replaced + "[2J"},
      {"\r\x7f", "\\x0d\\x7f", replaced + replaced},
      {std::string("\0", 1), "\\x00", replaced},
      {"\xC2\x9B"
       "31m",
       "\\xc2\\x9b31m", replaced + "31m"},                                  // CSI as one character
      {"caf\xe9.txt", "caf\\xe9.txt", "caf" + replaced + ".txt"},           // Latin-1
      {"\xC3", "\\xc3", replaced},                                          // cut off
      {"\xE2\x82", "\\xe2\\x82", replaced + replaced},                      // cut off
      {"\xC0\xAF", "\\xc0\\xaf", replaced + replaced},                      // "/" too long
      {"\xED\xA0\x80", "\\xed\\xa0\\x80", replaced + replaced + replaced},  // a surrogate
      {"\xF4\x90\x80\x80", "\\xf4\\x90\\x80\\x80",
       replaced + replaced + replaced + replaced},  // beyond Unicode
      {"\x80z", "\\x80z", replaced + "z"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(printable(c.text), c.printable);
    EXPECT_EQ(valid_utf8(c.text), c.valid);
  }
}

}  // namespace
}  // namespace stagecoach
