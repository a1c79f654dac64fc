#include <fmt/ranges.h>

#include "core/error.h"
#include "pipeline/schedule/generators.h"

namespace stagecoach {
namespace {

// Of those with a fixed number of stages on each rank.
template <Schedule (*generate)(int, int)>
Schedule fixed(int ranks, int micro_batches, int) {
  return generate(ranks, micro_batches);
}

struct NamedGenerator {
  const char* name;
  int chunks;  // unless asked for another number
  bool any_chunks;
  Schedule (*generate)(int ranks, int micro_batches, int chunks);
};

constexpr NamedGenerator kTraining[] = {
    {"naive", 1, false, fixed<naive_schedule>},
    {"gpipe", 1, false, fixed<gpipe_schedule>},
    {"1f1b", 1, false, fixed<one_f_one_b_schedule>},
    {"interleaved", 2, true, interleaved_schedule},
    {"zb-h1", 1, false, fixed<zb_h1_schedule>},
    {"zb-v", 2, false, fixed<zb_v_schedule>},
    {"dualpipe-v", 2, false, fixed<dualpipe_v_schedule>},
};
constexpr NamedGenerator kForwardOnly = {"forward-only", 1, false, fixed<forward_only_schedule>};

const NamedGenerator& generator_of(std::string_view name) {
  if (name == kForwardOnly.name) return kForwardOnly;
  for (const NamedGenerator& generator : kTraining) {
    if (name == generator.name) return generator;
  }
  throw UsageError("schedule", fmt::format("one of {}", fmt::join(schedule_names(), ", ")),
                   fmt::format("'{}'", name));
}

void check_chunks(const NamedGenerator& generator, int chunks) {
  const std::string operation = fmt::format("{} schedule", generator.name);
  if (chunks < 0) {
    throw UsageError(operation, "at least 1 stage on each rank", std::to_string(chunks));
  }
  if (!generator.any_chunks && chunks != 0 && chunks != generator.chunks) {
    throw UsageError(
        operation,
        fmt::format("{} stage{} on each rank", generator.chunks, generator.chunks == 1 ? "" : "s"),
        std::to_string(chunks), "interleaved has any number of them");
  }
}

}  // namespace

std::vector<std::string> schedule_names() {
  std::vector<std::string> names;
  for (const NamedGenerator& generator : kTraining) names.emplace_back(generator.name);
  return names;
}

int default_chunks(std::string_view name) {
  return generator_of(name).chunks;
}

Schedule make_schedule(std::string_view name, int ranks, int micro_batches, int chunks) {
  const NamedGenerator& generator = generator_of(name);
  check_chunks(generator, chunks);
  return generator.generate(ranks, micro_batches, chunks == 0 ? generator.chunks : chunks);
}

}  // namespace stagecoach
