// Dataset: labelled images in memory, as bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/error.h"

namespace stagecoach {

struct Dataset {
  std::string name;    // "CIFAR-10", "synthetic": shown wherever a result is shown
  std::string source;  // the folder, or how it was made
  std::int64_t channels = 3, height = 32, width = 32;
  std::vector<std::string> classes;
  std::vector<std::uint8_t> labels;  // one per image
  std::vector<std::uint8_t> pixels;  // [images, channels, height, width]

  std::int64_t size() const { return static_cast<std::int64_t>(labels.size()); }
  std::int64_t image_bytes() const { return channels * height * width; }
  const std::uint8_t* image(std::int64_t i) const { return pixels.data() + i * image_bytes(); }
};

enum class Split { kTrain, kTest };

// Files that are not what they should be: another copy helps.
class DamagedData : public Error {
 public:
  using Error::Error;
};

// Reads the official binary files (data_batch_1..5.bin or test_batch.bin) from `directory` or from
// its subfolder cifar-10-batches-bin. `max_images`: only the first so many; 0 for all.
// Throws Error naming the file: DamagedData where it is missing, short or long, or has a label
// above 9; another one where it cannot be read.
Dataset read_cifar10(const std::filesystem::path& directory, Split split,
                     std::int64_t max_images = 0);
// Whether `directory` (or its subfolder) holds at least one of the files. Throws Error where that
// cannot be known, as for a folder that may not be looked into.
bool has_cifar10(const std::filesystem::path& directory);

// 10 classes of procedurally drawn 3x32x32 images (shapes and textures in random colours, places
// and sizes, with noise); image i is a pure function of (seed, split, i), its label i's too.
Dataset make_synthetic(std::uint64_t seed, Split split, std::int64_t images);

}  // namespace stagecoach
