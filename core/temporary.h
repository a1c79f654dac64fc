// Files and folders that stand beside others for a while. Each is locked as long as its maker
// lives, so that whoever comes later knows which ones nobody will use or remove any more.
#pragma once

#include <filesystem>

namespace stagecoach {

// ".NAME.tmp-RANDOM" in the folder of `target`, whose file name is NAME. Made by O_EXCL, so no
// other process on any machine has it. The destructor removes it.
class TemporaryFile {
 public:
  // With the permissions of a new file. Throws Error naming the folder and the reason.
  explicit TemporaryFile(const std::filesystem::path& target);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  int descriptor() const { return descriptor_; }  // for reading and writing, of this object
  void keep() { kept_ = true; }                   // renamed, or wanted

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  bool kept_ = false;
};

// The same as a folder, which is removed with all that is in it.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::filesystem::path& target);
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void keep() { kept_ = true; }  // renamed

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  bool kept_ = false;
};

// Removes the temporary files and folders for `target` whose makers are gone: a killed process
// cannot. Says nothing about what it cannot remove.
void remove_abandoned(const std::filesystem::path& target);

}  // namespace stagecoach
