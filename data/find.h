// Finds the data that a user asked for.
#pragma once

#include <cstdint>
#include <filesystem>

#include "data/dataset.h"
#include "data/download.h"

namespace stagecoach {

enum class DataKind : std::uint8_t {
  kAuto,  // CIFAR-10, else synthetic
  kCifar10,
  kSynthetic,
};

struct DataRequest {
  DataKind kind = DataKind::kAuto;
  std::filesystem::path directory;  // --data-dir; empty when not given
  // 0: all; of synthetic data 10,000 for training and 2,000 for tests.
  std::int64_t max_train = 0;
  std::int64_t max_test = 0;
  std::uint64_t seed = 0;  // of synthetic data
  bool quiet = false;      // no progress bar
};

struct DataSplits {
  Dataset train, test;
};

// kCifar10: --data-dir, $CIFAR10_DIR, the cache folder ($XDG_CACHE_HOME or ~/.cache)/stagecoach;
// else downloads the official archive into the cache folder. kAuto: the same, and where that fails
// warns in plain words and makes synthetic data. Throws Error when `kind` is kCifar10 and there is
// none, and when a folder that was named by --data-dir or $CIFAR10_DIR has none or damaged files
// (also for kAuto: what the user named is never silently replaced). A damaged copy in the cache
// folder is downloaded again, and stays until that is done. UsageError for kSynthetic with
// --data-dir.
DataSplits find_data(const DataRequest& request);

// The same with `archive` in place of the official one.
DataSplits find_data(const DataRequest& request, const Archive& archive);

}  // namespace stagecoach
