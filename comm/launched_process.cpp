#include "comm/launched_process.h"

#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "core/error.h"

namespace stagecoach {
namespace {

struct Variables {
  const char *rank, *processes, *launcher;
};

// Slurm sets SLURM_NTASKS for a batch script, too, which is one process: PMIX_RANK is set for
// tasks.
constexpr Variables kVariables[] = {
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "mpirun"},
    {"PMI_RANK", "PMI_SIZE", "mpiexec"},
    {"PMIX_RANK", "SLURM_NTASKS", "srun"},
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

}  // namespace

std::optional<LaunchedProcess> find_launched_process() {
  for (const Variables& names : kVariables) {
    if (std::getenv(names.rank) == nullptr || std::getenv(names.processes) == nullptr) continue;
    const LaunchedProcess launch{names.launcher, number_of(names.rank, 0),
                                 number_of(names.processes, 1)};
    STAGECOACH_CHECK(launch.rank < launch.processes, "the launcher",
                     fmt::format("{} below {}", names.rank, launch.processes),
                     std::to_string(launch.rank));
    if (launch.processes > 1) return launch;
  }
  return std::nullopt;
}

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

}  // namespace stagecoach
