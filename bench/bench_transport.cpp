// Messages between two processes: through a World, as a training sends them, and through MPI's own
// calls by a thread that does nothing else.
//
//   mpirun -np 2 build/release/bench_transport world
//   mpirun -np 2 build/release/bench_transport mpi
//
// Half of the time of a message there and back, and the bandwidth that it comes to.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "comm/launched_process.h"
#include "comm/mpi/mpi_plugin.h"
#include "comm/mpi/mpi_world.h"

namespace stagecoach {
namespace {

using Clock = std::chrono::steady_clock;
using Bytes = std::vector<std::byte>;

// `send` and `receive` block. Prints in process 0.
void ping_pong(int rank, const std::function<void(Bytes&)>& send,
               const std::function<void(Bytes&)>& receive) {
  if (rank == 0) fmt::print("{:>12}  {:>12}  {:>12}\n", "bytes", "us", "MB/s");
  for (const std::size_t size : {1UL, 1024UL, 32UL << 10, 1UL << 20, 16UL << 20, 256UL << 20}) {
    Bytes bytes(size);
    const int times = static_cast<int>(std::clamp<std::size_t>((256UL << 20) / size, 5, 1000));
    std::vector<double> seconds;
    for (int i = 0; i < times + 2; ++i) {
      const Clock::time_point start = Clock::now();
      rank == 0 ? send(bytes) : receive(bytes);
      rank == 0 ? receive(bytes) : send(bytes);
      if (i >= 2)
        seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count() / 2);
    }
    std::ranges::sort(seconds);
    const double median = seconds[seconds.size() / 2];
    if (rank == 0) {
      fmt::print("{:>12}  {:>12.1f}  {:>12.1f}\n", size, 1e6 * median,
                 1e-6 * static_cast<double>(size) / median);
    }
  }
}

void through_world(const LaunchedProcess& process) {
  const auto world = make_mpi_world(process);
  const int other = 1 - world->rank();
  ping_pong(
      world->rank(), [&](Bytes& bytes) { world->send(other, 9, bytes).wait(); },
      [&](Bytes& bytes) { world->receive(other, 9, bytes).wait(); });
}

void through_mpi(const LaunchedProcess& process) {
  const MpiPlugin plugin(process);
  const MpiApi& api = plugin.api();
  int rank = 0, size = 0, number = 0;
  api.start(&rank, &size);
  const auto wait = [&] {
    for (int ended = 0, which = 0, code = 0; ended == 0;) api.test(1, &ended, &which, &code);
  };
  ping_pong(
      rank,
      [&](Bytes& bytes) {
        api.send(1 - rank, 9, bytes.data(), static_cast<int>(bytes.size()), &number);
        wait();
      },
      [&](Bytes& bytes) {
        api.receive(1 - rank, 9, bytes.data(), static_cast<int>(bytes.size()), &number);
        wait();
      });
  api.finish();
}

}  // namespace
}  // namespace stagecoach

int main(int argc, char** argv) {
  const auto process = stagecoach::find_launched_process();
  if (argc != 2 || !process || process->mpis.empty()) {
    fmt::print(stderr, "usage: mpirun -np 2 {} world|mpi\n", argv[0]);
    return 2;
  }
  if (std::strcmp(argv[1], "world") == 0) {
    stagecoach::through_world(*process);
  } else {
    stagecoach::through_mpi(*process);
  }
  return 0;
}
