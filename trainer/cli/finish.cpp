#include "trainer/cli/finish.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/text.h"
#include "trainer/cli/report_text.h"
#include "trainer/outputs.h"

namespace stagecoach {
namespace {

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

}  // namespace

int fail(const std::string& message, int exit_code) {
  std::fflush(stdout);
  std::fputs(("stagecoach: error: " + printable(message) + "\n").c_str(), stderr);
  return exit_code;
}

int exit_code_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Interrupted& interrupted) {
    return 128 + interrupted.signal();
  } catch (const UsageError&) {
    return 2;
  } catch (...) {
    return 1;
  }
}

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

int finish(const TrainRun& run, const TrainOutcome& outcome) {
  return finish(outcome.report ? to_text(*outcome.report) : "", any_standard_output(run.outputs()),
                outcome.failures, outcome.signal == 0 ? 0 : 128 + outcome.signal);
}

}  // namespace stagecoach
