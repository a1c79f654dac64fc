#include "core/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/error.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              ("file_" + std::to_string(::getpid()) + "_" +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static std::string content(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    std::ostringstream text;
    text << stream.rdbuf();
    return text.str();
  }
  std::int64_t files() const {
    return std::distance(fs::directory_iterator(folder_), fs::directory_iterator());
  }

  fs::path folder_;
};

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.message();
  }
  ADD_FAILURE() << "no Error";
  return "";
}

TEST_F(FileTest, WritesAndReplaces) {
  const fs::path file = folder_ / "out";
  write_file(file, [](std::ostream& stream) { stream << "first, longer"; });
  EXPECT_EQ(content(file), "first, longer");
  write_file(file, [](std::ostream& stream) { stream.write("a\0\n", 3); });
  EXPECT_EQ(content(file), std::string("a\0\n", 3));
  EXPECT_EQ(files(), 1);
}

TEST_F(FileTest, AFailureKeepsTheOldFileAndLeavesNoOther) {
  const fs::path file = folder_ / "out";
  write_file(file, [](std::ostream& stream) { stream << "old"; });
  EXPECT_THROW(write_file(file,
                          [](std::ostream& stream) {
                            stream << "half of the n";
                            throw std::logic_error("thrown while writing");
                          }),
               std::logic_error);
  EXPECT_EQ(content(file), "old");
  EXPECT_EQ(files(), 1);

  const std::string message = message_of(
      [&] { write_file(file, [](std::ostream& stream) { stream.setstate(std::ios::badbit); }); });
  EXPECT_NE(message.find(file.string()), std::string::npos) << message;
  EXPECT_EQ(content(file), "old");
  EXPECT_EQ(files(), 1);
}

TEST_F(FileTest, NamesWhatCannotBe) {
  const fs::path missing = folder_ / "missing" / "out";
  EXPECT_NE(message_of([&] { check_writable("--save", missing); }).find("--save: expected"),
            std::string::npos);
  EXPECT_NE(message_of([&] { write_file(missing, [](std::ostream&) {}); }).find(missing.string()),
            std::string::npos);
  EXPECT_NE(message_of([&] { check_writable("--save", folder_); }).find(folder_.string()),
            std::string::npos);
  const fs::path file = folder_ / "out";
  write_file(file, [](std::ostream&) {});
  message_of([&] { check_writable("--save", file / "inside a file"); });
  EXPECT_NO_THROW(check_writable("--save", file));
  EXPECT_NO_THROW(check_writable("--save", "in_the_current_folder"));
  EXPECT_EQ(files(), 1);  // checking makes nothing
}

TEST_F(FileTest, AFolderWithoutPermissionIsNamed) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  fs::permissions(folder_, fs::perms::owner_read | fs::perms::owner_exec);
  const std::string message = message_of([&] { check_writable("--save", folder_ / "out"); });
  fs::permissions(folder_, fs::perms::owner_all);
  EXPECT_NE(message.find("Permission denied"), std::string::npos) << message;
}

// --report /dev/stdout, or a named pipe: such a file is written to, never replaced by another.
TEST_F(FileTest, WritesToPipesAndDevicesAsTheyAre) {
  const fs::path pipe = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::string received;
  std::thread reader([&] { received = content(pipe); });
  EXPECT_NO_THROW(check_writable("--report", pipe));
  write_file(pipe, [](std::ostream& stream) { stream << "through the pipe"; });
  reader.join();
  EXPECT_EQ(received, "through the pipe");
  EXPECT_TRUE(fs::is_fifo(pipe));
  EXPECT_EQ(files(), 1);

  const fs::path link = folder_ / "null";
  fs::create_symlink("/dev/null", link);
  EXPECT_NO_THROW(write_file(link, [](std::ostream& stream) { stream << "gone"; }));
  EXPECT_TRUE(fs::is_symlink(link));
  fs::create_symlink("/dev/full", folder_ / "full");
  message_of(
      [&] { write_file(folder_ / "full", [](std::ostream& stream) { stream << "no room"; }); });
}

// --save latest, a link to the weights of the newest run.
TEST_F(FileTest, WritesThroughALink) {
  fs::create_directories(folder_ / "runs");
  const auto write = [](const fs::path& file, const char* text) {
    EXPECT_NO_THROW(check_writable("--save", file));
    write_file(file, [&](std::ostream& stream) { stream << text; });
  };
  write(folder_ / "runs" / "one", "old");
  fs::create_symlink("runs/one", folder_ / "latest");
  fs::create_symlink(folder_ / "latest", folder_ / "link_to_link");
  write(folder_ / "latest", "new");
  EXPECT_EQ(content(folder_ / "runs" / "one"), "new");
  write(folder_ / "link_to_link", "newer");
  EXPECT_EQ(content(folder_ / "runs" / "one"), "newer");
  fs::create_symlink("runs/two", folder_ / "next");  // where there is nothing yet
  write(folder_ / "next", "first");
  EXPECT_EQ(content(folder_ / "runs" / "two"), "first");
  for (const char* link : {"latest", "link_to_link", "next"}) {
    EXPECT_TRUE(fs::is_symlink(folder_ / link)) << link;
  }
  EXPECT_EQ(files(), 4);
  fs::create_symlink("missing/three", folder_ / "nowhere");
  EXPECT_NE(message_of([&] { check_writable("--save", folder_ / "nowhere"); }).find("missing"),
            std::string::npos);
}

TEST_F(FileTest, ALinkThatLeadsToItselfIsRefused) {
  fs::create_symlink("loop", folder_ / "loop");
  message_of([&] { write_file(folder_ / "loop", [](std::ostream& stream) { stream << "x"; }); });
  EXPECT_TRUE(fs::is_symlink(folder_ / "loop"));
}

TEST_F(FileTest, TwoNamesOfOneFileAreNoticed) {
  const auto check = [&](const fs::path& one, const fs::path& other) {
    check_different_files("train", {{"--save", one}, {"--report", other}});
  };
  fs::create_directories(folder_ / "runs");
  std::ofstream(folder_ / "runs" / "one") << "x";
  fs::create_symlink("runs/one", folder_ / "latest");
  fs::create_symlink("runs", folder_ / "folder");
  fs::create_symlink("runs/two", folder_ / "next");
  const fs::path one = folder_ / "runs" / "one";
  EXPECT_NO_THROW(check(one, folder_ / "runs" / "two"));
  EXPECT_NO_THROW(check("", ""));
  for (const fs::path& same :
       {folder_ / "latest", folder_ / "folder" / "one", folder_ / "runs" / ".." / "runs" / "one"}) {
    EXPECT_NE(message_of([&] { check(one, same); }).find("different files for --save and --report"),
              std::string::npos)
        << same;
  }
  EXPECT_THROW(check(folder_ / "next", folder_ / "runs" / "two"), UsageError);  // not there yet
}

TEST_F(FileTest, ManyMayWriteOneFileAtATime) {
  const fs::path file = folder_ / "out";
  std::vector<std::thread> threads;
  for (char letter = 'a'; letter < 'e'; ++letter) {
    threads.emplace_back([&, letter] {
      for (int i = 0; i < 20; ++i) {
        write_file(file, [&](std::ostream& stream) { stream << std::string(10000, letter); });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string text = content(file);
  EXPECT_EQ(text, std::string(10000, text.at(0)));
  EXPECT_EQ(files(), 1);
}

TEST_F(FileTest, ALockIsHeldByOne) {
  std::atomic<int> inside = 0;
  std::atomic<bool> alone = true;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const FileLock lock(folder_ / "lock");
        if (++inside != 1) alone = false;
        std::this_thread::yield();
        --inside;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(alone);
  message_of([&] { FileLock(folder_ / "missing" / "lock"); });
}

}  // namespace
}  // namespace stagecoach
