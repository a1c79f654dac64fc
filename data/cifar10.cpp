#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "core/error.h"
#include "core/input_file.h"
#include "data/dataset.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

// https://www.cs.toronto.edu/~kriz/cifar.html: a record is a label byte and three 32x32 planes.
constexpr std::int64_t kPixelBytes = 3 * 32 * 32;
constexpr std::int64_t kRecordBytes = 1 + kPixelBytes;
constexpr std::int64_t kFileRecords = 10000;
constexpr std::int64_t kFileBytes = kFileRecords * kRecordBytes;
constexpr std::array kClasses = {"airplane", "automobile", "bird",  "cat",  "deer",
                                 "dog",      "frog",       "horse", "ship", "truck"};
constexpr const char* kSubfolder = "cifar-10-batches-bin";
constexpr const char* kRead = "CIFAR-10";

std::vector<std::string> files_of(Split split) {
  if (split == Split::kTest) return {"test_batch.bin"};
  return {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
          "data_batch_5.bin"};
}

// Whether one of the files is there. Throws Error where that cannot be known.
bool has_file(const fs::path& directory) {
  for (const Split split : {Split::kTrain, Split::kTest}) {
    for (const std::string& name : files_of(split)) {
      if (kind_of(kRead, directory / name) != FileKind::kNone) return true;
    }
  }
  return false;
}

void check_file(const fs::path& file) {
  const FileKind kind = kind_of(kRead, file);
  if (kind == FileKind::kNone) {
    throw DamagedData(kRead, fmt::format("the file '{}'", file.string()), "no such file",
                      "CIFAR-10's binary version has data_batch_1.bin to data_batch_5.bin and "
                      "test_batch.bin");
  }
  check_readable(kRead, file);
  std::error_code failure;
  const auto bytes = fs::file_size(file, failure);
  STAGECOACH_CHECK(!failure, kRead, fmt::format("to read '{}'", file.string()), failure.message());
  if (static_cast<std::int64_t>(bytes) == kFileBytes) return;
  throw DamagedData(kRead,
                    fmt::format("{} bytes ({} records of {}) in '{}'", kFileBytes, kFileRecords,
                                kRecordBytes, file.string()),
                    fmt::format("{} bytes", bytes),
                    "the file is damaged, or not of CIFAR-10's binary version");
}

// Appends the first `count` records of `file`.
void read_records(const fs::path& file, std::int64_t count, Dataset& dataset) {
  check_file(file);
  std::ifstream stream(file, std::ios::binary);
  STAGECOACH_CHECK(stream.is_open(), kRead, fmt::format("to open '{}'", file.string()),
                   std::strerror(errno));
  const std::size_t first = dataset.labels.size();
  dataset.labels.resize(first + count);
  dataset.pixels.resize((first + count) * kPixelBytes);
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint8_t& label = dataset.labels[first + i];
    stream.read(reinterpret_cast<char*>(&label), 1);
    stream.read(reinterpret_cast<char*>(&dataset.pixels[(first + i) * kPixelBytes]), kPixelBytes);
    STAGECOACH_CHECK(stream.good(), kRead,
                     fmt::format("to read record {} of '{}'", i, file.string()),
                     "a failure of reading");
    if (label < kClasses.size()) continue;
    throw DamagedData(kRead,
                      fmt::format("a label from 0 to {} in record {} of '{}'", kClasses.size() - 1,
                                  i, file.string()),
                      fmt::format("label {}", label), "the file is damaged");
  }
}

}  // namespace

bool has_cifar10(const fs::path& directory) {
  return has_file(directory) || has_file(directory / kSubfolder);
}

Dataset read_cifar10(const fs::path& directory, Split split, std::int64_t max_images) {
  STAGECOACH_CHECK(max_images >= 0, kRead, "max_images >= 0", fmt::format("{}", max_images));
  STAGECOACH_CHECK(kind_of(kRead, directory) == FileKind::kFolder, kRead,
                   fmt::format("the folder '{}'", directory.string()), "no such folder");
  const bool in_subfolder = !has_file(directory) && has_file(directory / kSubfolder);
  const fs::path folder = in_subfolder ? directory / kSubfolder : directory;

  const std::vector<std::string> files = files_of(split);
  const std::int64_t all = static_cast<std::int64_t>(files.size()) * kFileRecords;
  const std::int64_t images = max_images == 0 ? all : std::min(max_images, all);
  Dataset dataset;
  dataset.name = "CIFAR-10";
  dataset.source = folder.string();
  dataset.classes.assign(kClasses.begin(), kClasses.end());
  dataset.labels.reserve(images);
  dataset.pixels.reserve(images * kPixelBytes);
  for (const std::string& file : files) {
    const std::int64_t missing = images - dataset.size();
    if (missing == 0) break;  // files that are not needed need not exist
    read_records(folder / file, std::min(missing, kFileRecords), dataset);
  }
  return dataset;
}

}  // namespace stagecoach
