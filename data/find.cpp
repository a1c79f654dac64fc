#include "data/find.h"

#include <cstdlib>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/input_file.h"
#include "core/interrupt.h"
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
  const std::string expected = fmt::format("CIFAR-10's binary version in '{}', which {} names",
                                           directory.string(), named_by);
  const FileKind kind = kind_of("data", directory);
  STAGECOACH_CHECK(kind != FileKind::kNone, "data", expected, "no such folder",
                   directory.string().starts_with("~")
                       ? "a shell replaces ~ only at the beginning of a word and without quotes"
                       : "");
  STAGECOACH_CHECK(kind == FileKind::kFolder, "data", expected, "a file of that name",
                   "name the folder that it is in");
  STAGECOACH_CHECK(has_cifar10(directory), "data", expected, "none of its files",
                   "it has data_batch_1.bin to data_batch_5.bin and test_batch.bin");
  return read_splits(directory, request);
}

// The copy in the cache folder; none where there is none, or a damaged one.
std::optional<DataSplits> read_copy(const fs::path& cache, const DataRequest& request,
                                    std::string& damage) {
  if (!has_cifar10(cache)) return std::nullopt;
  try {
    return read_splits(cache, request);
  } catch (const DamagedData& error) {
    damage = error.message();
    return std::nullopt;
  }
}

// Fills the cache folder. Processes that start together download once: the others wait and take
// what the first one got.
DataSplits download(const fs::path& cache, const DataRequest& request, const Archive& archive) {
  std::error_code error;
  fs::create_directories(cache, error);
  STAGECOACH_CHECK(!error, "data", fmt::format("to make the cache folder '{}'", cache.string()),
                   error.message());
  const FileLock lock(cache, [&] {
    spdlog::info("another process fills '{}' with CIFAR-10: waiting for it", cache.string());
  });
  std::string damage;
  if (std::optional<DataSplits> copy = read_copy(cache, request, damage)) return std::move(*copy);
  if (!damage.empty()) {
    spdlog::warn("the copy of CIFAR-10 in '{}' cannot be used ({}): downloading it again",
                 cache.string(), damage);
  }
  spdlog::info("downloading CIFAR-10 from {} to '{}'", archive.url, cache.string());
  DataSplits splits;
  download_and_unpack(archive, cache, request.quiet,
                      [&](const fs::path& unpacked) { splits = read_splits(unpacked, request); });
  return splits;
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
  const auto without = [&](const Error& error) {
    if (request.kind == DataKind::kCifar10) {
      throw Error("data", "CIFAR-10, or its download", error.message(), kHelp);
    }
    spdlog::warn(
        "no CIFAR-10 found and the download failed ({}): training on the synthetic data set "
        "instead; results are not about CIFAR-10",
        error.message());
    return make_synthetic_splits(request);
  };
  fs::path cache;
  try {
    cache = cache_folder();
  } catch (const Error& error) {
    return without(error);
  }
  // A copy that cannot be read is an error: it is neither replaced nor done without.
  std::string damage;
  if (std::optional<DataSplits> copy = read_copy(cache, request, damage)) return std::move(*copy);
  try {
    return download(cache, request, archive);
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& error) {
    return without(error);
  }
}

}  // namespace stagecoach
