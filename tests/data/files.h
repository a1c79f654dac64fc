// Folders, CIFAR-10 files and archives that tests make for themselves.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/download.h"
#include "tests/scratch_folder.h"

#define EXPECT_CONTAINS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

namespace stagecoach::testing {

class TemporaryFolder : public ScratchFolder {
 public:
  // The names of what is in it.
  std::vector<std::string> names() const;
};

// Sets an environment variable (or unsets it: nullopt) until the end of its scope.
class ScopedVariable {
 public:
  ScopedVariable(std::string name, std::optional<std::string> value);
  ~ScopedVariable();
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  std::string name_;
  std::optional<std::string> before_;
};

constexpr std::int64_t kCifarRecordBytes = 3073;
constexpr std::int64_t kCifarFileBytes = 30'730'000;

// Byte `i` of record `record` of the file that write_cifar_file makes with `salt`.
std::uint8_t cifar_byte(int salt, std::int64_t record, std::int64_t i);
// A file of `bytes` bytes with `records` records of cifar_byte at its front; zeros (which take no
// space on the disk) behind them: black images with label 0.
void write_cifar_file(const std::filesystem::path& file, int salt, std::int64_t records,
                      std::int64_t bytes = kCifarFileBytes);
void set_byte(const std::filesystem::path& file, std::int64_t offset, std::uint8_t value);
std::string read_text(const std::filesystem::path& file);

// An entry of an archive: a file, or a symbolic link to `link_to` when that is not empty.
struct Entry {
  std::string name, content, link_to = "";
};
// Writes a tar.gz; returns how to download it.
Archive make_archive(const std::filesystem::path& file, const std::vector<Entry>& entries);

}  // namespace stagecoach::testing
