#include <unistd.h>

#include "data/download.h"
#include "data/sha256.h"
#include "tests/fuzz/fuzz.h"

using namespace stagecoach;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("fuzz-" + std::to_string(::getpid()));
  const fuzz::MemoryFile file(data, size);
  Archive archive;
  archive.url = "file://" + file.path().string();
  archive.sha256 = sha256_of(fuzz::text_of(data, size));
  archive.most_unpacked_bytes = 1 << 20;
  fuzz::read_or_error([&] { download_and_unpack(archive, folder / "data", true); });
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename() != "data") std::abort();  // outside of its folder, or left behind
  }
  std::filesystem::remove_all(folder / "data");
  return 0;
}
