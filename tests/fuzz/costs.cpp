#include "trainer/cli/simulate_costs.h"

#include "tests/fuzz/fuzz.h"

using namespace stagecoach;

// The first byte says whether it is a file or an option's text.
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  return fuzz::read_or_error([&] {
    if (data[0] % 2 == 0) {
      const fuzz::MemoryFile file(data + 1, size - 1);
      read_costs(file.path());
    } else {
      const std::string text(fuzz::text_of(data + 1, size - 1));
      if (text.find('/') == text.npos && text.find('\0') == text.npos) read_costs(text);
    }
  });
}
