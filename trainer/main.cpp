// The program: exit codes 0; 2 for usage; 1 for everything else.
#include <fmt/format.h>

#include <cstdio>
#include <exception>

#include "core/error.h"
#include "trainer/train.h"

namespace {

int run(int argc, char** argv) {
  using namespace stagecoach;
  const CommandLine line = parse_command_line(argc, argv);
  switch (line.command) {
    case Command::kTrain:
      fmt::print("{}", to_text(train(line.train)));
      return 0;
    case Command::kInfo:
      fmt::print("{}", info_text());
      return 0;
    case Command::kNone:
      break;
  }
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
  } catch (const std::exception& error) {
    return fail(error.what(), 1);
  }
}
