#include "comm/mpi/mpi_plugin.h"

#include <fmt/ranges.h>

#include <filesystem>
#include <string>
#include <vector>

#include "core/error.h"

namespace stagecoach {
namespace {

// For people, with Debian's package.
std::string words_of(const std::string& plugin) {
  return plugin == "mpich" ? "MPICH (libmpich-dev)" : "Open MPI (libopenmpi-dev)";
}

DynamicLibrary open_plugin(const LaunchedProcess& process) {
  std::error_code ignored;
  const auto folder = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  std::vector<std::string> places, words;
  for (const std::string& mpi : process.mpis) {
    const std::string name = fmt::format("libstagecoach_{}.so", mpi);
    places.push_back(folder / name);
    places.push_back(folder / STAGECOACH_PLUGIN_FOLDER / name);
    places.push_back(name);
    words.push_back(words_of(mpi));
  }
  return {fmt::format("the MPI plug-in for {}", process.launcher), places,
          fmt::format("install {} and build again, or train with --transport threads",
                      fmt::join(words, " or "))};
}

const MpiApi& api_of(const DynamicLibrary& library) {
  const MpiApi& api = *library.symbol<const MpiApi*()>(kMpiApiSymbol)();
  STAGECOACH_CHECK(api.version == kMpiApiVersion, "the MPI plug-in",
                   fmt::format("version {} in {}", kMpiApiVersion, library.name()),
                   std::to_string(api.version), "build it again, with this program");
  return api;
}

}  // namespace

MpiPlugin::MpiPlugin(const LaunchedProcess& process)
    : library_(open_plugin(process)), api_(api_of(library_)) {}

}  // namespace stagecoach
