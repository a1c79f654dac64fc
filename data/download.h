// Fetches and unpacks an archive, checked by its sum.
#pragma once

#include <filesystem>
#include <string>

namespace stagecoach {

struct Archive {
  std::string url;
  std::string md5;  // 32 lowercase hexadecimal digits
};

// The official CIFAR-10 binary archive.
Archive cifar10_archive();

// Downloads `archive` to a temporary file beside `directory`, checks its MD5, unpacks its regular
// files into `directory` (made if missing; names that would leave it are refused), in place of what
// had their names there. `directory` stays as it was unless all went well. A progress bar on stderr
// when it is a terminal and not `quiet`. Throws Error: no network (says so), HTTP status, wrong sum
// (expected, got), no space.
void download_and_unpack(const Archive& archive, const std::filesystem::path& directory,
                         bool quiet);

}  // namespace stagecoach
