#include "pipeline/schedule/check.h"
#include "pipeline/schedule/simulate.h"
#include "pipeline/schedule/text.h"
#include "tests/fuzz/fuzz.h"

using namespace stagecoach;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::read_or_error([&] {
    const Program program = check(schedule_from_text(fuzz::text_of(data, size), "table"));
    SimulationCosts costs;
    costs.stages.resize(static_cast<std::size_t>(program.stages()));
    simulate(program, costs, BufferLimit::kPlanned);
    // What was read is written so that it is read the same.
    const std::string text = program.schedule().to_text();
    if (schedule_from_text(text, "again").to_text() != text) std::abort();
  });
}
