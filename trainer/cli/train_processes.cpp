#include "trainer/cli/train_processes.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "comm/mpi/mpi_world.h"
#include "comm/watch.h"
#include "core/available_cores.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "pipeline/activity.h"
#include "trainer/cli/command_line.h"
#include "trainer/cli/finish.h"
#include "trainer/processes.h"
#include "trainer/train.h"

namespace stagecoach {
namespace {

// What a process that has been told of another's error leaves that one to say it; and in which time
// those that fail alike learn of each other.
constexpr std::chrono::milliseconds kTimeToSpeak{600}, kTimeToHear{200};

// So many times --peer-timeout may the processes take to start.
constexpr double kStartOverPeerTimeout = 10;

// Of the command line, in each process: the same in all, or what is wrong in some.
struct Parsed {
  CommandLine line;
  std::string error;  // empty: none
  int exit_code = 0;
};

Parsed parse(const LaunchedProcess& process, int argc, char** argv) {
  // Help, the version and the report are one process's to print.
  if (process.rank != 0) (void)std::freopen("/dev/null", "w", stdout);
  Parsed parsed;
  try {
    parsed.line = parse_command_line(argc, argv, process);
    parsed.exit_code = parsed.line.exit_code;
  } catch (...) {
    const auto error = std::current_exception();
    parsed.error = message_of(error);
    parsed.exit_code = exit_code_of(error);
  }
  return parsed;
}

// The first process says for all what is wrong with their command lines: once what all have, else
// that of the first one that has something.
int refuse(const Parsed& own, const std::vector<std::string>& errors) {
  const auto first = std::ranges::find_if(errors, [](const auto& text) { return !text.empty(); });
  const bool all_alike =
      std::ranges::all_of(errors, [&](const auto& text) { return text == *first; });
  const int code = own.exit_code != 0 ? own.exit_code : 2;
  if (all_alike) return fail(*first, code);
  return fail(fmt::format("process {}: {}", first - errors.begin(), *first), code);
}

// Of processes that no MPI can join: the first one speaks, as the others cannot be asked.
int refuse_alone(const LaunchedProcess& process, const Parsed& own) {
  if (process.rank == 0) return fail(own.error, own.exit_code);
  std::this_thread::sleep_for(kTimeToSpeak);  // some launchers end all when one has ended
  return own.exit_code;
}

// Compute threads, where none are asked for: the cores that the launcher has left this process,
// shared with the processes on this machine that have the same ones.
int threads_here(const Processes& processes) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  std::string place = host_name() + ":";
  if (::sched_getaffinity(0, sizeof cores, &cores) == 0) {
    for (int core = 0; core < CPU_SETSIZE; ++core) place += CPU_ISSET(core, &cores) ? '1' : '0';
  }
  const auto sharing = static_cast<int>(std::ranges::count(processes.of_all(place), place));
  return std::max(1, available_cores() / sharing);
}

bool is_said_elsewhere(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const PeerError&) {
    return true;
  } catch (...) {
    return false;
  }
}

// An error that several processes have alike is said by the first of them; what another process has
// said is not said again.
int fail_once(World& world, const std::exception_ptr& error) {
  const std::string message = message_of(error);
  const int code = exit_code_of(error);
  if (is_said_elsewhere(error)) {
    std::this_thread::sleep_for(kTimeToSpeak);
    return code;
  }
  if (world.rank() == 0) fail(message, code);
  world.abort(error);
  if (world.rank() == 0) return code;
  std::this_thread::sleep_for(kTimeToHear);
  const auto others = world.errors_of_others();
  // Long words come cut.
  const bool is_said = std::ranges::any_of(others, [&](const World::Words& words) {
    return words.process < world.rank() && !words.text.empty() && message.starts_with(words.text);
  });
  return is_said ? code : fail(message, code);
}

// Without the destructors of what other threads may still be in.
[[noreturn]] void leave(int exit_code) {
  std::fflush(nullptr);
  ::_exit(exit_code);
}

// Until the processes watch over each other: ends this one when the others do not come.
class StartLimit {
 public:
  StartLimit(int processes, double seconds)
      : thread_([=, this](const std::stop_token& stop) {
          std::mutex mutex;
          std::unique_lock lock(mutex);
          changed_.wait_for(lock, stop, std::chrono::duration<double>(seconds),
                            [] { return false; });
          if (stop.stop_requested()) return;
          leave(
              fail(fmt::format("training: expected {} processes to start within {} s, got fewer; a "
                               "larger --peer-timeout waits longer",
                               processes, seconds),
                   1));
        }) {}

 private:
  std::condition_variable_any changed_;
  std::jthread thread_;  // last: it uses the members above
};

WatchOptions watch_options(World& world, const TrainRun& run) {
  WatchOptions options;
  options.peer_timeout =
      std::chrono::milliseconds(static_cast<std::int64_t>(1000 * run.peer_timeout_seconds));
  options.describe = describe_activity;
  options.say = [](const std::string& message) { fail(message, 1); };
  // This process is somewhere that the end of the job does not reach.
  options.last_resort = [&world] {
    const auto end = std::make_exception_ptr(PeerError("the job", "to go on", "its end"));
    leave(fail_once(world, end));
  };
  return options;
}

}  // namespace

int train_in_processes(const LaunchedProcess& process, int argc, char** argv) {
  Parsed parsed = parse(process, argc, argv);
  if (parsed.error.empty()) {
    if (parsed.line.command == Command::kNone) return parsed.exit_code;
    if (parsed.line.train->job.processes == 1) {  // --transport threads: each for itself
      catch_interrupts();
      return finish(*parsed.line.train, train(*parsed.line.train));
    }
  }
  if (process.mpis.empty()) return refuse_alone(process, parsed);
  std::optional<StartLimit> limit;
  limit.emplace(
      process.processes,
      kStartOverPeerTimeout *
          (parsed.error.empty() ? parsed.line.train->peer_timeout_seconds : kDefaultPeerTimeout));
  const std::unique_ptr<World> world = make_mpi_world(process);
  const Processes processes(world.get());
  std::optional<Watch> watch;
  try {
    const std::vector<std::string> errors = processes.of_all(parsed.error);
    if (std::ranges::any_of(errors, [](const auto& text) { return !text.empty(); })) {
      const int code = static_cast<int>(processes.greatest(parsed.exit_code));
      return processes.is_first() ? refuse(parsed, errors) : code;
    }
    catch_interrupts();
    TrainRun& run = *parsed.line.train;
    watch.emplace(*world, watch_options(*world, run));
    limit.reset();
    run.job.world = world.get();
    run.job.watch = &*watch;
    if (run.job.threads == 0) run.job.threads = threads_here(processes);
    const TrainOutcome outcome = train(run);
    const int failed = outcome.failures.empty() ? 0 : 1;
    if (processes.is_first()) return finish(run, outcome);
    return outcome.signal != 0 ? 128 + outcome.signal : failed;
  } catch (...) {
    leave(fail_once(*world, std::current_exception()));
  }
}

}  // namespace stagecoach
