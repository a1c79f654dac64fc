#include <fmt/ranges.h>

#include "core/error.h"
#include "pipeline/schedule.h"

namespace stagecoach {
namespace {

struct NamedGenerator {
  const char* name;
  Schedule (*generate)(int ranks, int micro_batches);
};

constexpr NamedGenerator kGenerators[] = {
    {"naive", naive_schedule}, {"gpipe", gpipe_schedule}, {"1f1b", one_f_one_b_schedule}};

}  // namespace

std::vector<std::string> schedule_names() {
  std::vector<std::string> names;
  for (const NamedGenerator& generator : kGenerators) names.emplace_back(generator.name);
  return names;
}

Schedule make_schedule(std::string_view name, int ranks, int micro_batches, int chunks) {
  static_cast<void>(chunks);
  for (const NamedGenerator& generator : kGenerators) {
    if (name == generator.name) return generator.generate(ranks, micro_batches);
  }
  throw UsageError("schedule", fmt::format("one of {}", fmt::join(schedule_names(), ", ")),
                   fmt::format("'{}'", name));
}

int default_chunks(std::string_view name) {
  return name == "interleaved" || name == "zb-v" || name == "dualpipe-v" ? 2 : 1;
}

}  // namespace stagecoach
