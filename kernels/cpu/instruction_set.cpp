#include "kernels/cpu/instruction_set.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <hwy/highway.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <utility>

#include "core/error.h"

namespace stagecoach::cpu {
namespace {

// Best first. Others are not compiled: CMakeLists.txt.
constexpr std::pair<std::int64_t, const char*> kSets[] = {
    {HWY_AVX3, "avx512"}, {HWY_AVX2, "avx2"}, {HWY_NEON, "neon"}};

// The sets of the processor, whatever was chosen.
std::int64_t supported() {
  static const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets;
}

// 0: none of this name.
std::int64_t target_of(const std::string& name) {
  for (const auto& [target, text] : kSets) {
    if ((supported() & target) != 0 && name == text) return target;
  }
  return 0;
}

std::string environment() {
  const char* name = std::getenv("STAGECOACH_SIMD");
  return name == nullptr ? "" : name;
}

void choose(const std::string& name) {
  hwy::SetSupportedTargetsForTest(name.empty() ? 0 : target_of(name));
}

#if defined(__x86_64__)
// Before any other code that the compiler made for AVX2: older processors would only say "illegal
// instruction".
[[gnu::constructor(101), gnu::target("arch=x86-64")]] void refuse_older_processors() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return;
  static const char kText[] =
      "stagecoach: error: expected a processor with AVX2 and FMA (x86-64-v3: Intel since Haswell, "
      "AMD "
      "since Excavator), got an older one\n";
  const ssize_t written = ::write(STDERR_FILENO, kText, sizeof(kText) - 1);
  ::_exit(written < 0 ? 2 : 1);
}
#endif

// Before main(): kernels look for their set when they are first called.
const bool kChosen = [] {
  supported();
  choose(environment());
  return true;
}();

void check(const std::string& operation, const std::string& name) {
  const std::vector<std::string> sets = instruction_sets();
  STAGECOACH_CHECK(!sets.empty(), operation, "a processor with AVX2 and FMA, AVX-512, or NEON",
                   "none of them");
  STAGECOACH_CHECK(name.empty() || target_of(name) != 0, operation,
                   fmt::format("one of this processor's: {}", fmt::join(sets, ", ")), name);
}

}  // namespace

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const auto& [target, name] : kSets) {
    if ((supported() & target) != 0) names.emplace_back(name);
  }
  return names;
}

std::string instruction_set() {
  check("STAGECOACH_SIMD", environment());
  const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  for (const auto& [target, name] : kSets) {
    if ((targets & target) != 0) return name;
  }
  return "";
}

void use_instruction_set(const std::string& name) {
  check("use_instruction_set", name);
  choose(name);
}

}  // namespace stagecoach::cpu
