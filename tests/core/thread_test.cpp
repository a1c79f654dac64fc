#include "core/thread.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include "core/error.h"
#include "core/thread_pool.h"
#include "core/worker.h"

namespace stagecoach {
namespace {

TEST(Thread, Runs) {
  std::atomic<int> runs = 0;
  start_thread([&] { ++runs; }).join();
  EXPECT_EQ(runs, 1);
}

// Another user's process, as root is not limited, that may have only the one thread it has.
template <typename Body>
int status_with_one_thread(const Body& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(30);  // it once waited for ever
    if (::geteuid() == 0 && ::setuid(54321) != 0) ::_exit(77);
    const struct rlimit one { 1, 1 };
    if (::setrlimit(RLIMIT_NPROC, &one) != 0) ::_exit(77);
    try {
      body();
    } catch (const Error& error) {
      const bool said = error.message().find("to start another thread") != std::string::npos &&
                        error.message().find("--threads") != std::string::npos;
      ::_exit(said ? 3 : 4);
    } catch (...) {
      ::_exit(5);
    }
    ::_exit(6);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(Thread, WhereThereIsNoneLeftTheLimitIsNamed) {
  const int status = status_with_one_thread([] { start_thread([] {}).join(); });
  if (status == 77) GTEST_SKIP() << "this system lets nobody limit its threads";
  if (status == 6) GTEST_SKIP() << "this system does not count threads";
  EXPECT_EQ(status, 3);
  EXPECT_EQ(status_with_one_thread([] { ThreadPool(8); }), 3);
  EXPECT_EQ(status_with_one_thread([] { Worker(); }), 3);
}

}  // namespace
}  // namespace stagecoach
