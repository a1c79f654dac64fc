// What the compiler must get right, as one of them does not: see STAGECOACH_MACHINE in
// cmake/StagecoachTargets.cmake.
#include <gtest/gtest.h>

#include <cstdint>
#include <iterator>
#include <vector>

namespace stagecoach {
namespace {

// Constants that are copied in pieces of 32 bytes, of which the last is 0 and the others equal.
struct Options {
  std::int64_t stride_h, stride_w, padding_h, padding_w, last;
};
struct Case {
  std::int64_t sizes[7];
  Options options;
};
const Case kCases[] = {{{1, 3, 7, 9, 5, 2, 2}, {1, 1, 1, 1, 0}},
                       {{2, 3, 12, 17, 6, 5, 3}, {4, 2, 2, 2, 0}}};

// Reads memory: the compiler knows the constants.
[[gnu::noinline]] std::int64_t last_of(const Options& options) {
  return options.last;
}

TEST(Compiler, CopiesConstantsWhole) {
  const std::vector<Case> copies(std::begin(kCases), std::end(kCases));
  for (const Case& copy : copies) {
    EXPECT_EQ(last_of(copy.options), 0) << "another member was copied instead";
  }
}

}  // namespace
}  // namespace stagecoach
