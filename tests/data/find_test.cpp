#include "data/find.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <atomic>
#include <sstream>
#include <thread>

#include "core/error.h"
#include "core/log.h"
#include "tests/data/files.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;
using testing::cifar_byte;
using testing::write_cifar_file;

// No folder is named, the cache folder is empty, the archive cannot be reached, and what is logged
// goes to `log_`.
class Find : public ::testing::Test {
 protected:
  Find() {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_)));
  }
  ~Find() override { initialize_log(false); }

  static DataRequest request(DataKind kind, const fs::path& directory = {}) {
    return {.kind = kind,
            .directory = directory,
            .max_train = 20,
            .max_test = 10,
            .seed = 3,
            .quiet = true};
  }
  static void write_cifar(const fs::path& folder, int salt) {
    write_cifar_file(folder / "data_batch_1.bin", salt, 20);
    write_cifar_file(folder / "test_batch.bin", salt + 1, 10);
  }
  // An archive with the folder cifar-10-batches-bin.
  Archive archive_of_cifar(int salt) const {
    const fs::path folder = other_.path() / "packed";
    write_cifar(folder, salt);
    return testing::make_archive(
        other_.path() / "cifar.tar.gz",
        {{"cifar-10-batches-bin/data_batch_1.bin", testing::read_text(folder / "data_batch_1.bin")},
         {"cifar-10-batches-bin/test_batch.bin", testing::read_text(folder / "test_batch.bin")}});
  }
  static void expect_cifar(const DataSplits& data, int salt) {
    EXPECT_EQ(data.train.name, "CIFAR-10");
    ASSERT_EQ(data.train.size(), 20);
    ASSERT_EQ(data.test.size(), 10);
    EXPECT_EQ(data.train.image(3)[5], cifar_byte(salt, 3, 6));
    EXPECT_EQ(data.test.image(3)[5], cifar_byte(salt + 1, 3, 6));
  }
  fs::path cache() const { return cache_.path() / "stagecoach"; }
  std::string failure(const DataRequest& wanted) const {
    try {
      find_data(wanted, unreachable_);
    } catch (const Error& error) {
      return error.message();
    }
    return "";
  }

  const Archive unreachable_{"http://127.0.0.1:9/cifar.tar.gz", std::string(32, '0')};
  const testing::TemporaryFolder cache_, other_;
  const testing::ScopedVariable cache_home_{"XDG_CACHE_HOME", cache_.path().string()};
  const testing::ScopedVariable cifar10_dir_{"CIFAR10_DIR", std::nullopt};
  const testing::ScopedVariable no_proxy_{"no_proxy", "127.0.0.1"};
  std::ostringstream log_;
};

TEST_F(Find, PrefersTheNamedFolderThenTheVariableThenTheCache) {
  write_cifar(cache(), 1);
  write_cifar(other_.path() / "variable", 2);
  write_cifar(other_.path() / "named" / "cifar-10-batches-bin", 3);
  for (const DataKind kind : {DataKind::kAuto, DataKind::kCifar10}) {
    expect_cifar(find_data(request(kind), unreachable_), 1);
    const testing::ScopedVariable variable("CIFAR10_DIR", (other_.path() / "variable").string());
    expect_cifar(find_data(request(kind), unreachable_), 2);
    expect_cifar(find_data(request(kind, other_.path() / "named"), unreachable_), 3);
  }
  EXPECT_EQ(log_.str(), "");
}

TEST_F(Find, UsesTheHomeFolderWithoutXdg) {
  const testing::ScopedVariable xdg("XDG_CACHE_HOME", "relative/is/ignored");
  const testing::ScopedVariable home("HOME", other_.path().string());
  write_cifar(other_.path() / ".cache" / "stagecoach", 4);
  expect_cifar(find_data(request(DataKind::kCifar10), unreachable_), 4);
}

TEST_F(Find, NeverReplacesWhatWasNamed) {
  write_cifar(cache(), 1);
  for (const DataKind kind : {DataKind::kAuto, DataKind::kCifar10}) {
    const std::string message = failure(request(kind, other_.path()));
    EXPECT_CONTAINS(message, other_.path().string());
    EXPECT_CONTAINS(message, "--data-dir");
    const testing::ScopedVariable variable("CIFAR10_DIR", (other_.path() / "none").string());
    EXPECT_CONTAINS(failure(request(kind)), "CIFAR10_DIR");
  }
  write_cifar_file(other_.path() / "data_batch_1.bin", 1, 1, 3073);
  EXPECT_CONTAINS(failure(request(DataKind::kAuto, other_.path())), "got 3073 bytes");
}

TEST_F(Find, DownloadsIntoTheCacheOnce) {
  const Archive archive = archive_of_cifar(5);
  expect_cifar(find_data(request(DataKind::kCifar10), archive), 5);
  EXPECT_TRUE(fs::exists(cache() / "cifar-10-batches-bin" / "data_batch_1.bin"));
  EXPECT_CONTAINS(log_.str(), "downloading CIFAR-10 from " + archive.url);
  expect_cifar(find_data(request(DataKind::kCifar10), unreachable_), 5);
}

TEST_F(Find, DownloadsAgainWhenTheCopyIsDamaged) {
  write_cifar_file(cache() / "cifar-10-batches-bin" / "data_batch_1.bin", 1, 1, 3073);
  expect_cifar(find_data(request(DataKind::kAuto), archive_of_cifar(6)), 6);
  EXPECT_CONTAINS(log_.str(), "got 3073 bytes");
}

TEST_F(Find, AutoFallsBackToSyntheticDataAndSaysSo) {
  const DataSplits data = find_data(request(DataKind::kAuto), unreachable_);
  EXPECT_EQ(data.train.name, "synthetic");
  EXPECT_EQ(data.train.pixels, make_synthetic(3, Split::kTrain, 20).pixels);
  EXPECT_EQ(data.test.pixels, make_synthetic(3, Split::kTest, 10).pixels);
  EXPECT_CONTAINS(log_.str(), "[warning]");
  EXPECT_CONTAINS(log_.str(), "no connection");
  EXPECT_CONTAINS(log_.str(), "synthetic data set instead; results are not about CIFAR-10");
  EXPECT_TRUE(fs::is_empty(cache()));
}

TEST_F(Find, AutoFallsBackWithoutAnyCacheFolder) {
  const testing::ScopedVariable xdg("XDG_CACHE_HOME", std::nullopt);
  const testing::ScopedVariable home("HOME", std::nullopt);
  EXPECT_EQ(find_data(request(DataKind::kAuto), unreachable_).train.name, "synthetic");
}

// Four that start at once, as the ranks of a job do.
TEST_F(Find, WhoComesWhileItIsDownloadedWaits) {
  const Archive archive = archive_of_cifar(7);
  std::vector<std::thread> threads;
  std::atomic<int> found = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const DataSplits data = find_data(request(DataKind::kAuto), archive);
      if (data.train.name == "CIFAR-10" && data.train.size() == 20) ++found;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(found, 4);
  const std::string log = log_.str(), line = "downloading CIFAR-10";
  EXPECT_NE(log.find(line), std::string::npos) << log;
  EXPECT_EQ(log.find(line), log.rfind(line)) << log;
  EXPECT_EQ(cache_.names(), std::vector<std::string>{"stagecoach"});
}

// It may be good: neither is it downloaded again, nor are other images taken.
TEST_F(Find, ACopyThatCannotBeReadIsAnError) {
  write_cifar(cache(), 1);
  fs::remove(cache() / "data_batch_1.bin");
  fs::create_symlink("data_batch_1.bin", cache() / "data_batch_1.bin");  // to itself
  for (const DataKind kind : {DataKind::kAuto, DataKind::kCifar10}) {
    try {
      find_data(request(kind), archive_of_cifar(8));
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_CONTAINS(error.message(), "Too many levels of symbolic links");
    }
  }
  EXPECT_TRUE(fs::is_symlink(cache() / "data_batch_1.bin"));
}

TEST_F(Find, ADamagedCopyStaysUntilThereIsABetterOne) {
  write_cifar(cache(), 1);
  testing::set_byte(cache() / "data_batch_1.bin", 0, 200);
  const std::string before = testing::read_text(cache() / "data_batch_1.bin");
  EXPECT_CONTAINS(failure(request(DataKind::kCifar10)), "no connection");
  EXPECT_EQ(find_data(request(DataKind::kAuto), unreachable_).train.name, "synthetic");
  EXPECT_TRUE(testing::read_text(cache() / "data_batch_1.bin") == before);
  // What is downloaded is looked at before it takes the place of anything.
  const fs::path packed = other_.path() / "damaged";
  write_cifar_file(packed / "data_batch_1.bin", 1, 1, 3073);
  const Archive damaged = testing::make_archive(
      other_.path() / "damaged.tar.gz",
      {{"data_batch_1.bin", testing::read_text(packed / "data_batch_1.bin")}});
  EXPECT_THROW(find_data(request(DataKind::kCifar10), damaged), Error);
  EXPECT_TRUE(testing::read_text(cache() / "data_batch_1.bin") == before);
}

TEST_F(Find, AFolderThatIsNoneIsSaid) {
  EXPECT_CONTAINS(failure(request(DataKind::kAuto, other_.path() / "none")), "no such folder");
  EXPECT_CONTAINS(failure(request(DataKind::kAuto, "~/cifar")), "a shell replaces ~");
  write_cifar_file(other_.path() / "file", 1, 0, 1);
  EXPECT_CONTAINS(failure(request(DataKind::kAuto, other_.path() / "file")), "a file of that name");
}

TEST_F(Find, Cifar10IsNeverReplaced) {
  const std::string message = failure(request(DataKind::kCifar10));
  EXPECT_CONTAINS(message, "no connection");
  EXPECT_CONTAINS(message, "--data-dir");
  EXPECT_EQ(log_.str().find("[warning]"), std::string::npos);
}

TEST_F(Find, SyntheticNeedsNothing) {
  const testing::ScopedVariable variable("CIFAR10_DIR", "/nowhere");
  EXPECT_EQ(find_data(request(DataKind::kSynthetic), unreachable_).train.size(), 20);
  DataRequest all = request(DataKind::kSynthetic);
  all.max_train = all.max_test = 0;
  const DataSplits data = find_data(all, unreachable_);
  EXPECT_EQ(data.train.size(), 10000);
  EXPECT_EQ(data.test.size(), 2000);
  EXPECT_EQ(log_.str(), "");
}

TEST_F(Find, RefusesAFolderForSyntheticData) {
  EXPECT_THROW(find_data(request(DataKind::kSynthetic, other_.path()), unreachable_), UsageError);
}

}  // namespace
}  // namespace stagecoach
