#include "core/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

namespace stagecoach {
namespace {

struct Signal {
  int number;
  const char* name;
};
constexpr Signal kSignals[] = {
    {SIGINT, "SIGINT"}, {SIGTERM, "SIGTERM"}, {SIGHUP, "SIGHUP"}, {SIGUSR1, "SIGUSR1"}};

std::atomic<int> received = 0;
static_assert(std::atomic<int>::is_always_lock_free, "a signal's handler may not lock");

extern "C" void remember(int number) {
  int none = 0;
  if (!received.compare_exchange_strong(none, number) && number == SIGINT) ::_exit(128 + SIGINT);
}

}  // namespace

void catch_interrupts() {
  for (const Signal& signal : kSignals) {
    struct sigaction before {
    }, ours{};
    if (::sigaction(signal.number, nullptr, &before) != 0 || before.sa_handler == SIG_IGN) continue;
    ours.sa_handler = remember;
    ours.sa_flags = SA_RESTART;
    ::sigaction(signal.number, &ours, nullptr);
  }
}

int interrupt_signal() {
  return received.load();
}

const char* name_of_signal(int number) {
  for (const Signal& signal : kSignals) {
    if (signal.number == number) return signal.name;
  }
  return "";
}

Interrupted::Interrupted(const std::string& operation, int signal)
    : Error(operation, "to finish", name_of_signal(signal)), signal_(signal) {}

void check_interrupt(const char* operation) {
  if (const int signal = interrupt_signal()) throw Interrupted(operation, signal);
}

}  // namespace stagecoach
