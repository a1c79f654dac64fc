// Finds the data that a user asked for.
#pragma once

#include <filesystem>
#include <string>

#include "data/dataset.h"
#include "data/download.h"

namespace stagecoach {

struct DataRequest {
  std::string kind = "auto";        // auto, cifar10 or synthetic
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

// cifar10: --data-dir, $CIFAR10_DIR, the cache folder ($XDG_CACHE_HOME or ~/.cache)/stagecoach;
// else downloads the official archive into the cache folder. auto: the same, and where that fails
// warns in plain words and makes synthetic data. Throws Error when `kind` is cifar10 and there is
// none, and when a folder that was named by --data-dir or $CIFAR10_DIR has none or damaged files
// (also for auto: what the user named is never silently replaced). A damaged copy in the cache
// folder is downloaded again. UsageError for another kind, and for synthetic with --data-dir.
DataSplits find_data(const DataRequest& request);

// The same with `archive` in place of the official one.
DataSplits find_data(const DataRequest& request, const Archive& archive);

}  // namespace stagecoach
