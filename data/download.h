// Fetches and unpacks an archive, checked by its sum.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace stagecoach {

struct Archive {
  std::string url;
  std::string sha256;  // 64 lowercase hexadecimal digits
  // What is larger is not this archive, and ends before it fills the disk.
  std::int64_t most_bytes = std::int64_t{1} << 30;
  std::int64_t most_unpacked_bytes = std::int64_t{4} << 30;
};

// The official CIFAR-10 binary archive.
Archive cifar10_archive();

// Downloads `archive` to a temporary folder beside `directory`, checks its SHA-256, unpacks its
// regular files (names that would leave the folder are refused), calls check(FOLDER), and moves
// them into `directory` (made if missing), in place of what had their names there. `directory`
// stays as it was unless all went well. A progress bar on stderr when it is a terminal and not
// `quiet`. Throws Error: no network (says so), HTTP status, wrong sum (expected, got), too large,
// no space, and what `check` throws; Interrupted when a signal came. What began with https ends
// with it.
void download_and_unpack(
    const Archive& archive, const std::filesystem::path& directory, bool quiet,
    const std::function<void(const std::filesystem::path&)>& check = [](const auto&) {});

}  // namespace stagecoach
