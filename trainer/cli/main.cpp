// The program: exit codes 0; 2 for usage; 1 for everything else.
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>

#include "core/error.h"
#include "trainer/cli/command_line.h"
#include "trainer/cli/info.h"
#include "trainer/cli/report_text.h"
#include "trainer/cli/simulate_command.h"
#include "trainer/train.h"

namespace {

int run(int argc, char** argv) {
  using namespace stagecoach;
  const CommandLine line = parse_command_line(argc, argv);
  if (line.command == Command::kTrain) fmt::print("{}", to_text(train(*line.train)));
  if (line.command == Command::kSimulate) fmt::print("{}", simulate_command(line.simulate));
  if (line.command == Command::kInfo) fmt::print("{}", info_text());
  STAGECOACH_CHECK(std::fflush(stdout) == 0, "stagecoach", "to write to the standard output",
                   std::strerror(errno));
  return line.exit_code;
}

// The message without the place in the source: users look at their command, not at our code.
int fail(const std::string& message, int exit_code) {
  fmt::print(stderr, "stagecoach: error: {}\n", message);
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const stagecoach::UsageError& error) {
    return fail(error.message(), 2);
  } catch (const stagecoach::Error& error) {
    return fail(error.message(), 1);
  } catch (const std::bad_alloc&) {
    return fail("memory: expected enough for this run, got less; use smaller images or batches", 1);
  } catch (const std::exception& error) {
    return fail(error.what(), 1);
  }
}
