#include "pipeline/schedule/check.h"
#include "pipeline/schedule/csv.h"
#include "tests/fuzz/fuzz.h"

using namespace stagecoach;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::read_or_error([&] {
    std::vector<std::string> notes;
    const Program program = check(schedule_from_csv(fuzz::text_of(data, size), "table", &notes));
    const std::string csv = to_csv(program.schedule());
    if (to_csv(schedule_from_csv(csv, "again", nullptr)) != csv) std::abort();
  });
}
