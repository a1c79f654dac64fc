#include "trainer/cli/command_line.h"

#include <cstdio>
#include <iostream>

#include "tests/fuzz/fuzz.h"

using namespace stagecoach;

// Words between blanks; what they ask for is not done.
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool quiet = [] { return std::cout.rdbuf(nullptr) != nullptr; }();
  (void)quiet;
  std::vector<std::string> words = {"stagecoach"};
  std::string_view text = fuzz::text_of(data, size);
  while (!text.empty() && words.size() < 64) {
    const std::size_t end = std::min(text.find(' '), text.size());
    // Files that are there are not for a fuzzer.
    if (text.substr(0, end).find('/') == text.npos) words.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  std::vector<const char*> arguments;
  for (const std::string& word : words) arguments.push_back(word.c_str());
  return fuzz::read_or_error(
      [&] { parse_command_line(static_cast<int>(arguments.size()), arguments.data()); });
}
