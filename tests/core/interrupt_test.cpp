#include "core/interrupt.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "core/file.h"

namespace stagecoach {
namespace {

// A process has one memory of its signals, so each case has a process of its own, in which none is
// ignored, as in a test under nohup. The exit status of `body`'s; 128 + the number of the signal
// that killed it.
template <typename Body>
int status_of(const Body& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) std::signal(signal, SIG_DFL);
    ::_exit(body());
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(Interrupt, NothingIsCaughtUntilAsked) {
  EXPECT_EQ(interrupt_signal(), 0);
  EXPECT_NO_THROW(check_interrupt("test"));
  EXPECT_EQ(status_of([] { return ::raise(SIGTERM); }), 128 + SIGTERM);
}

TEST(Interrupt, TheFirstSignalIsRemembered) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) {
    EXPECT_EQ(status_of([=] {
                catch_interrupts();
                ::raise(signal);
                ::raise(SIGTERM);  // schedulers repeat themselves
                try {
                  check_interrupt("test");
                } catch (const Interrupted& interrupted) {
                  return interrupted.signal() == signal && interrupt_signal() == signal &&
                                 interrupted.message().ends_with(name_of_signal(signal))
                             ? 3
                             : 4;
                }
                return 5;
              }),
              3)
        << name_of_signal(signal);
  }
}

TEST(Interrupt, ACtrlCBehindASignalEndsAtOnce) {
  for (const int first : {SIGINT, SIGTERM}) {
    EXPECT_EQ(status_of([=] {
                catch_interrupts();
                ::raise(first);
                ::raise(SIGINT);
                return 3;
              }),
              128 + SIGINT);
  }
}

TEST(Interrupt, WhatWasIgnoredStaysIgnored) {
  EXPECT_EQ(status_of([] {
              std::signal(SIGHUP, SIG_IGN);
              catch_interrupts();
              ::raise(SIGHUP);
              return interrupt_signal() == 0 ? 3 : 4;
            }),
            3);
}

TEST(Interrupt, EndsWaitingForALock) {
  const std::filesystem::path file =
      std::filesystem::path(::testing::TempDir()) / ("lock" + std::to_string(::getpid()));
  const FileLock held(file);
  EXPECT_EQ(status_of([&] {
              catch_interrupts();
              try {
                const FileLock lock(file, [] { ::raise(SIGTERM); });
              } catch (const Interrupted&) {
                return 3;
              }
              return 4;
            }),
            3);
  std::filesystem::remove(file);
}

}  // namespace
}  // namespace stagecoach
