#include <gtest/gtest.h>

#include "core/error.h"
#include "data/dataset.h"
#include "tests/data/files.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;
using testing::cifar_byte;
using testing::kCifarFileBytes;
using testing::kCifarRecordBytes;
using testing::write_cifar_file;

// The message of the Error that reading throws; empty when it throws none.
std::string failure(const fs::path& directory, Split split, std::int64_t max_images) {
  try {
    read_cifar10(directory, split, max_images);
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

void expect_record(const Dataset& dataset, std::int64_t image, int salt, std::int64_t record) {
  EXPECT_EQ(dataset.labels[image], cifar_byte(salt, record, 0)) << image;
  for (std::int64_t i = 0; i < dataset.image_bytes(); ++i) {
    ASSERT_EQ(dataset.image(image)[i], cifar_byte(salt, record, i + 1)) << image << ", " << i;
  }
}

TEST(Cifar10, ReadsLabelsAndPlanesInOrder) {
  const testing::TemporaryFolder folder;
  write_cifar_file(folder.path() / "data_batch_1.bin", 3, 20);
  const Dataset dataset = read_cifar10(folder.path(), Split::kTrain, 20);
  EXPECT_EQ(dataset.name, "CIFAR-10");
  EXPECT_EQ(dataset.source, folder.path().string());
  ASSERT_EQ(dataset.size(), 20);
  ASSERT_EQ(dataset.image_bytes(), 3072);
  ASSERT_EQ(dataset.pixels.size(), 20u * 3072);
  for (int i = 0; i < 20; ++i) expect_record(dataset, i, 3, i);
  ASSERT_EQ(dataset.classes.size(), 10u);
  EXPECT_EQ(dataset.classes.front(), "airplane");
  EXPECT_EQ(dataset.classes.back(), "truck");
}

TEST(Cifar10, GoesOnInTheNextFile) {
  const testing::TemporaryFolder folder;
  write_cifar_file(folder.path() / "data_batch_1.bin", 1, 1);
  write_cifar_file(folder.path() / "data_batch_2.bin", 2, 3);
  const Dataset dataset = read_cifar10(folder.path(), Split::kTrain, 10002);
  ASSERT_EQ(dataset.size(), 10002);
  expect_record(dataset, 0, 1, 0);
  expect_record(dataset, 10000, 2, 0);
  expect_record(dataset, 10001, 2, 1);
}

TEST(Cifar10, ReadsAllOfBothSplits) {
  const testing::TemporaryFolder folder;
  for (int i = 1; i <= 5; ++i) {
    write_cifar_file(folder.path() / ("data_batch_" + std::to_string(i) + ".bin"), i, 1);
  }
  write_cifar_file(folder.path() / "test_batch.bin", 6, 1);
  const Dataset train = read_cifar10(folder.path(), Split::kTrain);
  EXPECT_EQ(train.size(), 50000);
  for (int i = 0; i < 5; ++i) expect_record(train, i * 10000, i + 1, 0);
  const Dataset test = read_cifar10(folder.path(), Split::kTest);
  EXPECT_EQ(test.size(), 10000);
  expect_record(test, 0, 6, 0);
  EXPECT_EQ(read_cifar10(folder.path(), Split::kTest, 20000).size(), 10000);
}

TEST(Cifar10, LooksIntoTheOfficialSubfolder) {
  const testing::TemporaryFolder folder;
  EXPECT_FALSE(has_cifar10(folder.path()));
  EXPECT_FALSE(has_cifar10(folder.path() / "none"));
  write_cifar_file(folder.path() / "cifar-10-batches-bin" / "test_batch.bin", 6, 1);
  EXPECT_TRUE(has_cifar10(folder.path()));
  EXPECT_TRUE(has_cifar10(folder.path() / "cifar-10-batches-bin"));
  const Dataset dataset = read_cifar10(folder.path(), Split::kTest, 1);
  expect_record(dataset, 0, 6, 0);
  EXPECT_EQ(dataset.source, (folder.path() / "cifar-10-batches-bin").string());
}

TEST(Cifar10, NamesWhatIsMissing) {
  const testing::TemporaryFolder folder;
  EXPECT_CONTAINS(failure(folder.path() / "none", Split::kTest, 1), "none', got no such folder");
  EXPECT_CONTAINS(failure(folder.path(), Split::kTest, 1), "test_batch.bin', got no such file");
  write_cifar_file(folder.path() / "data_batch_1.bin", 1, 1);
  EXPECT_EQ(failure(folder.path(), Split::kTrain, 10000), "");
  EXPECT_CONTAINS(failure(folder.path(), Split::kTrain, 10001), "data_batch_2.bin");
  EXPECT_CONTAINS(failure(folder.path(), Split::kTrain, 0), "data_batch_2.bin");
  fs::create_directory(folder.path() / "test_batch.bin");
  EXPECT_CONTAINS(failure(folder.path(), Split::kTest, 1), "expected a file, got the folder");
  EXPECT_CONTAINS(failure(folder.path(), Split::kTest, -1), "-1");
}

TEST(Cifar10, RefusesEveryOtherSize) {
  const testing::TemporaryFolder folder;
  const fs::path file = folder.path() / "test_batch.bin";
  for (const std::int64_t bytes : {std::int64_t{0}, kCifarRecordBytes, kCifarFileBytes - 1,
                                   kCifarFileBytes + 1, kCifarFileBytes - kCifarRecordBytes}) {
    write_cifar_file(file, 1, 1, bytes);
    const std::string message = failure(folder.path(), Split::kTest, 1);
    EXPECT_CONTAINS(message, "expected 30730000 bytes");
    EXPECT_CONTAINS(message, file.string());
    EXPECT_CONTAINS(message, "got " + std::to_string(bytes) + " bytes");
  }
}

TEST(Cifar10, NamesTheRecordOfABadLabel) {
  const testing::TemporaryFolder folder;
  const fs::path file = folder.path() / "test_batch.bin";
  write_cifar_file(file, 1, 0);
  testing::set_byte(file, 7 * kCifarRecordBytes, 9);
  EXPECT_EQ(read_cifar10(folder.path(), Split::kTest, 8).labels[7], 9);
  testing::set_byte(file, 17 * kCifarRecordBytes, 10);
  EXPECT_EQ(failure(folder.path(), Split::kTest, 17), "");
  const std::string message = failure(folder.path(), Split::kTest, 18);
  EXPECT_CONTAINS(message, "record 17 of '" + file.string() + "'");
  EXPECT_CONTAINS(message, "label 10");
}

}  // namespace
}  // namespace stagecoach
