#include "comm/launched_process.h"

#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <string_view>

#include "core/error.h"

namespace stagecoach {
namespace {

struct Launcher {
  const char *name, *rank, *processes;
  const char* besides;  // a variable that it sets, too
  std::array<const char*, 2> mpis;
};

// Slurm's number is that of the step's tasks: SLURM_NTASKS is also set for a batch script, which is
// one process. RANK alone may be anybody's.
constexpr Launcher kLaunchers[] = {
    {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", nullptr, {"openmpi"}},
    {"mpiexec", "PMI_RANK", "PMI_SIZE", nullptr, {"mpich", "openmpi"}},
    {"srun", "PMIX_RANK", "SLURM_STEP_NUM_TASKS", nullptr, {"openmpi", "mpich"}},
    {"torchrun", "RANK", "WORLD_SIZE", "MASTER_ADDR", {}},
    {"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", nullptr, {}},
};

int number_of(const char* name, int least) {
  const std::string_view text = std::getenv(name);
  int number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  STAGECOACH_CHECK(error == std::errc() && end == text.data() + text.size() && number >= least,
                   "the launcher", fmt::format("a number of at least {} in {}", least, name),
                   fmt::format("'{}'", text));
  return number;
}

std::string link_target(const char* path) {
  std::array<char, 256> text{};
  const ssize_t length = ::readlink(path, text.data(), text.size() - 1);
  return length < 0 ? "" : std::string(text.data(), static_cast<std::size_t>(length));
}

}  // namespace

std::optional<LaunchedProcess> find_launched_process() {
  const auto is_set = [](const char* name) { return std::getenv(name) != nullptr; };
  for (const Launcher& each : kLaunchers) {
    if (!is_set(each.rank) || !is_set(each.processes)) continue;
    if (each.besides != nullptr && !is_set(each.besides)) continue;
    LaunchedProcess launch{
        each.name, number_of(each.rank, 0), number_of(each.processes, 1), {}, {}};
    STAGECOACH_CHECK(launch.rank < launch.processes, "the launcher",
                     fmt::format("{} below {}", each.rank, launch.processes),
                     std::to_string(launch.rank));
    if (launch.processes == 1) continue;
    for (const char* mpi : each.mpis) {
      if (mpi != nullptr) launch.mpis.emplace_back(mpi);
    }
    launch.seen =
        fmt::format("{}={} and {}={}", each.rank, launch.rank, each.processes, launch.processes);
    return launch;
  }
  return std::nullopt;
}

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

std::string machine_name() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  return fmt::format("{} {} {} {} {}", host_name(), boot, link_target("/proc/self/ns/pid"),
                     link_target("/proc/self/ns/mnt"), link_target("/proc/self/ns/time"));
}

}  // namespace stagecoach
