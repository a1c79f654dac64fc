#include "core/input_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "core/error.h"
#include "tests/scratch_folder.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

class InputFile : public ::testing::Test {
 protected:
  InputFile() { std::ofstream(folder_ / "file") << "content"; }

  static std::string failure(const fs::path& file, std::int64_t most_bytes = 100) {
    try {
      read_text("read", file, most_bytes);
    } catch (const Error& error) {
      return error.message();
    }
    return "";
  }

  const testing::ScratchFolder scratch_;
  const fs::path& folder_ = scratch_.path();
};

TEST_F(InputFile, SaysWhatIsThere) {
  EXPECT_EQ(kind_of("test", folder_), FileKind::kFolder);
  EXPECT_EQ(kind_of("test", folder_ / "file"), FileKind::kFile);
  EXPECT_EQ(kind_of("test", folder_ / "none"), FileKind::kNone);
  EXPECT_EQ(kind_of("test", folder_ / "file" / "below a file"), FileKind::kNone);
  EXPECT_EQ(kind_of("test", "/dev/null"), FileKind::kOther);
  fs::create_symlink("loop", folder_ / "loop");
  EXPECT_THROW(kind_of("test", folder_ / "loop"), Error);
  EXPECT_THROW(kind_of("test", folder_ / std::string(300, 'n')), Error);
}

TEST_F(InputFile, ReadsFilesAndPipes) {
  EXPECT_EQ(read_text("read", folder_ / "file", 7), "content");
  const std::string large(1 << 20, 'x');
  std::ofstream(folder_ / "large") << large;
  EXPECT_TRUE(read_text("read", folder_ / "large", 1 << 20) == large);
  const fs::path pipe = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::thread writer([&] { std::ofstream(pipe) << large; });
  EXPECT_TRUE(read_text("read", pipe, 1 << 20) == large);
  writer.join();
}

TEST_F(InputFile, EachReasonHasItsWords) {
  EXPECT_EQ(failure(folder_ / "none"),
            "read: expected the file '" + (folder_ / "none").string() + "', got no such file");
  EXPECT_EQ(failure(folder_), "read: expected a file, got the folder '" + folder_.string() + "'");
  EXPECT_NE(failure(folder_ / "file", 6).find("of at most 6 bytes, got 7 bytes"),
            std::string::npos);
  EXPECT_NE(failure("~/none").find("a shell replaces ~"), std::string::npos);
  EXPECT_NE(failure("/dev/zero").find("got more"), std::string::npos);  // and not for ever
}

TEST_F(InputFile, PermissionIsOneOfThem) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  fs::permissions(folder_ / "file", fs::perms::none);
  EXPECT_NE(failure(folder_ / "file").find("Permission denied"), std::string::npos);
  fs::permissions(folder_, fs::perms::none);
  EXPECT_NE(failure(folder_ / "file").find("Permission denied"), std::string::npos);
  EXPECT_THROW(kind_of("test", folder_ / "file"), Error);
  fs::permissions(folder_, fs::perms::owner_all);
}

}  // namespace
}  // namespace stagecoach
