#include "core/temporary.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "core/error.h"
#include "tests/scratch_folder.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

class TemporaryTest : public ::testing::Test {
 protected:
  std::set<std::string> names() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      names.insert(entry.path().filename().string());
    }
    return names;
  }
  // In a process that is killed in the middle.
  template <typename Body>
  static void in_killed_process(const Body& body) {
    const pid_t child = ::fork();
    if (child == 0) {
      body();
      ::kill(::getpid(), SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
  }

  const testing::ScratchFolder scratch_;
  const fs::path& folder_ = scratch_.path();
};

TEST_F(TemporaryTest, FilesAndFoldersGoWithTheirObjects) {
  {
    const TemporaryFile one(folder_ / "name"), other(folder_ / "name");
    const TemporaryFolder folder(folder_ / "name");
    std::ofstream(folder.path() / "inside") << "x";
    EXPECT_EQ(names().size(), 3u);
    for (const std::string& name : names()) EXPECT_TRUE(name.starts_with(".name.tmp-")) << name;
    EXPECT_NE(one.path(), other.path());
  }
  EXPECT_TRUE(names().empty());
  {
    TemporaryFile kept(folder_ / "name");
    kept.keep();
  }
  EXPECT_EQ(names().size(), 1u);
}

TEST_F(TemporaryTest, HaveThePermissionsOfNewFiles) {
  const mode_t mask = ::umask(027);
  const TemporaryFile file(folder_ / "name");
  ::umask(mask);
  EXPECT_EQ(fs::status(file.path()).permissions(), fs::perms(0640));
}

TEST_F(TemporaryTest, ALongNameIsCut) {
  const fs::path name = folder_ / std::string(255, 'n');
  std::ofstream(name) << "x";  // a name that the file system has
  ASSERT_TRUE(fs::exists(name));
  const TemporaryFile file(name);
  EXPECT_EQ(file.path().filename().string().size(), 255u);
}

TEST_F(TemporaryTest, OnlyWhatIsAbandonedIsRemoved) {
  const TemporaryFile alive(folder_ / "name");
  in_killed_process([&] {
    const TemporaryFile file(folder_ / "name");
    const TemporaryFolder folder(folder_ / "name");
    std::ofstream(folder.path() / "inside") << "x";
    new TemporaryFile(folder_ / "other");
    ::kill(::getpid(), SIGKILL);
  });
  std::ofstream(folder_ / ".name.tmp-notes") << "somebody's own";
  ASSERT_EQ(::mkfifo((folder_ / ".name.tmp-0123456789ab").c_str(), 0600), 0);
  ASSERT_EQ(names().size(), 6u);
  remove_abandoned(folder_ / "name");
  const std::set<std::string> left = names();
  EXPECT_EQ(left.size(), 3u);  // the pipe would have blocked; nobody holds it
  EXPECT_TRUE(left.contains(alive.path().filename().string()));
  EXPECT_TRUE(left.contains(".name.tmp-notes"));
  EXPECT_TRUE(fs::exists(alive.path()));
}

TEST_F(TemporaryTest, TheReasonIsNamed) {
  try {
    TemporaryFile(folder_ / "missing" / "name");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.message().find((folder_ / "missing").string()), std::string::npos);
    EXPECT_NE(error.message().find("No such file or directory"), std::string::npos);
  }
}

}  // namespace
}  // namespace stagecoach
