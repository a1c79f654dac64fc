#include "data/find.h"

#include <cstdlib>

#include "core/error.h"
#include "core/log.h"
#include "core/system_memory.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

// Smaller than CIFAR-10, so that a run that needs no real data starts at once.
constexpr std::int64_t kSyntheticTrain = 10000;
constexpr std::int64_t kSyntheticTest = 2000;
constexpr const char* kHelp =
    "name a folder with the files of CIFAR-10's binary version by --data-dir, or take --data "
    "synthetic";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// By the XDG Base Directory Specification: a relative XDG_CACHE_HOME is ignored.
fs::path cache_folder() {
  const fs::path cache = environment("XDG_CACHE_HOME");
  if (cache.is_absolute()) return cache / "stagecoach";
  const fs::path home = environment("HOME");
  STAGECOACH_CHECK(!home.empty(), "data", "a cache folder: XDG_CACHE_HOME or HOME",
                   "neither is set", kHelp);
  return home / ".cache" / "stagecoach";
}

DataSplits read_splits(const fs::path& directory, const DataRequest& request) {
  return {.train = read_cifar10(directory, Split::kTrain, request.max_train),
          .test = read_cifar10(directory, Split::kTest, request.max_test)};
}

// What the user named must be there.
DataSplits read_named(const fs::path& directory, const char* named_by, const DataRequest& request) {
  STAGECOACH_CHECK(has_cifar10(directory), "data",
                   fmt::format("CIFAR-10's binary version in '{}', which {} names",
                               directory.string(), named_by),
                   "none of its files",
                   "it has data_batch_1.bin to data_batch_5.bin and test_batch.bin");
  return read_splits(directory, request);
}

// From the cache folder, which is filled first when it has none or a damaged copy.
DataSplits read_cached(const DataRequest& request, const Archive& archive) {
  const fs::path cache = cache_folder();
  if (has_cifar10(cache)) {
    try {
      return read_splits(cache, request);
    } catch (const Error& error) {
      spdlog::warn("the copy of CIFAR-10 in '{}' cannot be used ({}): downloading it again",
                   cache.string(), error.message());
    }
  }
  spdlog::info("downloading CIFAR-10 from {} to '{}'", archive.url, cache.string());
  download_and_unpack(archive, cache, request.quiet);
  return read_splits(cache, request);
}

DataSplits make_synthetic_splits(const DataRequest& request) {
  const std::int64_t train = request.max_train == 0 ? kSyntheticTrain : request.max_train;
  const std::int64_t test = request.max_test == 0 ? kSyntheticTest : request.max_test;
  const double bytes = static_cast<double>(Dataset().image_bytes()) *
                       (static_cast<double>(train) + static_cast<double>(test));
  const auto free = static_cast<double>(available_memory_bytes());
  STAGECOACH_CHECK(
      bytes < free, "data",
      fmt::format("at most {:.1f} GiB of images, which this machine has left", free / (1 << 30)),
      fmt::format("{:.1f} GiB", bytes / (1 << 30)),
      "ask for fewer by --max-train-samples and --max-test-samples");
  return {.train = make_synthetic(request.seed, Split::kTrain, train),
          .test = make_synthetic(request.seed, Split::kTest, test)};
}

}  // namespace

DataSplits find_data(const DataRequest& request) {
  return find_data(request, cifar10_archive());
}

DataSplits find_data(const DataRequest& request, const Archive& archive) {
  if (request.kind == DataKind::kSynthetic) {
    if (!request.directory.empty()) {
      throw UsageError("--data-dir", "a folder with CIFAR-10", "--data synthetic",
                       "leave one of them out");
    }
    return make_synthetic_splits(request);
  }
  if (!request.directory.empty()) return read_named(request.directory, "--data-dir", request);
  const std::string named = environment("CIFAR10_DIR");
  if (!named.empty()) return read_named(named, "CIFAR10_DIR", request);
  try {
    return read_cached(request, archive);
  } catch (const Error& error) {
    if (request.kind == DataKind::kCifar10) {
      throw Error("data", "CIFAR-10, or its download", error.message(), kHelp);
    }
    spdlog::warn(
        "no CIFAR-10 found and the download failed ({}): training on the synthetic data set "
        "instead; results are not about CIFAR-10",
        error.message());
    return make_synthetic_splits(request);
  }
}

}  // namespace stagecoach
