// The program.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <exception>

#include "comm/launched_process.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "trainer/cli/command_line.h"
#include "trainer/cli/finish.h"
#include "trainer/cli/info.h"
#include "trainer/cli/inspect.h"
#include "trainer/cli/simulate_command.h"
#include "trainer/cli/train_processes.h"
#include "trainer/outputs.h"
#include "trainer/train.h"

namespace {

using namespace stagecoach;

// A descriptor that is closed would become the first file that is opened: error messages would land
// in it. What stands in for it fails as a closed one does.
void open_standard_descriptors() {
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor) {
    if (::fcntl(descriptor, F_GETFD) >= 0) continue;
    (void)::open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

int run(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "train") == 0) {
    if (const auto process = find_launched_process())
      return train_in_processes(*process, argc, argv);
  }
  const CommandLine line = parse_command_line(argc, argv);
  if (line.command == Command::kTrain) {
    catch_interrupts();
    return finish(*line.train, train(*line.train));
  }
  if (line.command == Command::kInfo) return finish(info_text(), false, {}, 0);
  if (line.command == Command::kNone) return finish("", false, {}, line.exit_code);
  if (line.command == Command::kInspect) {
    const InspectOutcome outcome = inspect(line.inspect);
    return finish(outcome.text, false, outcome.failures, 0);
  }
  const SimulateOutcome outcome = simulate_command(line.simulate);
  return finish(outcome.text, any_standard_output(line.simulate.outputs()), outcome.failures, 0);
}

}  // namespace

int main(int argc, char** argv) {
  open_standard_descriptors();
  std::signal(SIGPIPE, SIG_IGN);  // a reader that is gone is an error of that output alone
  try {
    return run(argc, argv);
  } catch (...) {
    const auto error = std::current_exception();
    return fail(message_of(error), exit_code_of(error));
  }
}
