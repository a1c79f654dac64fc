// The program: exit codes 0; 2 for usage; 128 + the signal's number when one ended a training; 1
// for everything else.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/text.h"
#include "trainer/cli/command_line.h"
#include "trainer/cli/info.h"
#include "trainer/cli/inspect.h"
#include "trainer/cli/report_text.h"
#include "trainer/cli/simulate_command.h"
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

// The message without the place in the source: users look at their command, not at our code. Where
// it cannot be printed either, the exit status is what remains.
int fail(const std::string& message, int exit_code) {
  std::fflush(stdout);
  std::fputs(("stagecoach: error: " + printable(message) + "\n").c_str(), stderr);
  return exit_code;
}

// To the standard output, or to the standard error where a file of the run is the standard output.
// False when it could not be written: there is no reader, and nobody to tell.
bool print(const std::string& text, bool to_errors) {
  std::FILE* stream = to_errors ? stderr : stdout;
  errno = 0;
  if (std::fputs(printable(text).c_str(), stream) >= 0 && std::fflush(stream) == 0 &&
      std::ferror(stream) == 0) {
    return true;
  }
  if (errno == EPIPE) return false;
  throw Error("stagecoach", "to write to the standard output",
              errno != 0 ? std::strerror(errno) : "a failure");
}

// The exit status of a command whose text is printed and whose failures are said.
int finish(const std::string& text, bool to_errors, const std::vector<std::string>& failures,
           int exit_code) {
  try {
    if (!print(text, to_errors)) exit_code = 128 + SIGPIPE;
  } catch (const Error& error) {
    exit_code = fail(error.message(), 1);
  }
  for (const std::string& failure : failures) fail(failure, 1);
  return failures.empty() || exit_code != 0 ? exit_code : 1;
}

int run_train(const TrainRun& run) {
  catch_interrupts();
  const TrainOutcome outcome = train(run);
  return finish(outcome.report ? to_text(*outcome.report) : "", any_standard_output(run.outputs()),
                outcome.failures, outcome.signal == 0 ? 0 : 128 + outcome.signal);
}

int run(int argc, char** argv) {
  const CommandLine line = parse_command_line(argc, argv);
  if (line.command == Command::kTrain) return run_train(*line.train);
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
  } catch (const Interrupted& interrupted) {
    return fail(interrupted.message(), 128 + interrupted.signal());
  } catch (const UsageError& error) {
    return fail(error.message(), 2);
  } catch (const std::exception& error) {
    return fail(message_of(error), 1);
  }
}
