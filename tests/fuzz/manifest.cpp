#include <unistd.h>

#include <fstream>

#include "tests/fuzz/fuzz.h"
#include "trainer/checkpoint.h"

using namespace stagecoach;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::filesystem::path folder = [] {
    const auto path =
        std::filesystem::temp_directory_path() / ("fuzz-" + std::to_string(::getpid())) / "step-3";
    std::filesystem::create_directories(path);
    return path;
  }();
  std::ofstream(folder / "manifest.json", std::ios::binary) << fuzz::text_of(data, size);
  return fuzz::read_or_error([] { check_whole(read_manifest(folder)); });
}
