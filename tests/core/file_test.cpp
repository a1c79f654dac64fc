#include "core/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/error.h"
#include "tests/scratch_folder.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

class FileTest : public ::testing::Test {
 protected:
  static std::string content(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    std::ostringstream text;
    text << stream.rdbuf();
    return text.str();
  }
  std::int64_t files() const {
    return std::distance(fs::directory_iterator(folder_), fs::directory_iterator());
  }

  const testing::ScratchFolder scratch_;
  const fs::path& folder_ = scratch_.path();
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

// A shell's "> file" is an open file: to be written to, or the shell's file would be another one.
TEST_F(FileTest, WritesThroughOpenFiles) {
  const fs::path file = folder_ / "redirected";
  const int descriptor = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  ASSERT_GE(descriptor, 0);
  ASSERT_EQ(::write(descriptor, "before ", 7), 7);
  const fs::path name = "/dev/fd/" + std::to_string(descriptor);
  fs::create_symlink(name, folder_ / "link");
  for (const fs::path& same :
       {name, fs::path("/proc/self/fd") / name.filename(), folder_ / "link"}) {
    EXPECT_NO_THROW(check_writable("--json", same));
    write_file(same, [](std::ostream& stream) { stream << "through "; });
  }
  ASSERT_EQ(::write(descriptor, "after", 5), 5);
  ::close(descriptor);
  EXPECT_EQ(content(file), "before through through through after");
  EXPECT_NE(message_of([&] { check_writable("--json", name); }).find("Bad file descriptor"),
            std::string::npos);
  const int reading = ::open(file.c_str(), O_RDONLY);
  const fs::path read_only = "/dev/fd/" + std::to_string(reading);
  EXPECT_NE(message_of([&] { check_writable("--json", read_only); }).find("open for reading"),
            std::string::npos);
  ::close(reading);
}

TEST_F(FileTest, ADashIsTheStandardOutput) {
  EXPECT_TRUE(is_standard_output("-"));
  EXPECT_TRUE(is_standard_output("/dev/stdout"));
  EXPECT_FALSE(is_standard_output(folder_ / "-"));
  EXPECT_FALSE(is_standard_output(""));
  EXPECT_THROW(check_different_files("train", {{"--report", "-"}, {"--trace", "/dev/stdout"}}),
               UsageError);
  ::testing::internal::CaptureStdout();
  std::fputs("first, ", stdout);
  write_file("-", [](std::ostream& stream) { stream << "then"; });
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "first, then");
  EXPECT_FALSE(fs::exists("-"));
}

TEST_F(FileTest, PermissionsStay) {
  const fs::path file = folder_ / "out";
  const auto write = [&] { write_file(file, [](std::ostream& stream) { stream << "x"; }); };
  const mode_t mask = ::umask(027);
  write();
  ::umask(mask);
  EXPECT_EQ(fs::status(file).permissions(), fs::perms(0640));
  fs::permissions(file, fs::perms(0604));
  write();
  EXPECT_EQ(fs::status(file).permissions(), fs::perms(0604));
}

TEST_F(FileTest, ANameAsLongAsTheyMayBe) {
  const fs::path file = folder_ / std::string(255, 'n');
  EXPECT_NO_THROW(check_writable("--save", file));
  write_file(file, [](std::ostream& stream) { stream << "x"; });
  EXPECT_EQ(content(file), "x");
  EXPECT_NE(message_of([&] {
              check_writable("--save", folder_ / std::string(256, 'n'));
            }).find("File name too long"),
            std::string::npos);
}

// A container's volume of one file: nothing can be renamed to it.
TEST_F(FileTest, AMountPointIsOverwritten) {
  const fs::path host = folder_ / "host", file = folder_ / "file";
  std::ofstream(host) << "old, and longer than the new";
  std::ofstream(file) << "below";
  if (::mount(host.c_str(), file.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    GTEST_SKIP() << "nothing can be mounted here: " << std::strerror(errno);
  }
  EXPECT_NO_THROW(check_writable("--save", file));
  EXPECT_NO_THROW(write_file(file, [](std::ostream& stream) { stream << "new"; }));
  EXPECT_THROW(write_file(file, [](std::ostream&) { throw std::logic_error("while writing"); }),
               std::logic_error);
  ::umount(file.c_str());
  EXPECT_EQ(content(host), "new");
  EXPECT_EQ(content(file), "below");
  EXPECT_EQ(files(), 2);
}

TEST_F(FileTest, AFullDiskIsFoundBefore) {
  const fs::path disk = folder_ / "disk";
  fs::create_directories(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=64k") != 0) {
    GTEST_SKIP() << "nothing can be mounted here: " << std::strerror(errno);
  }
  const fs::path file = disk / "out";
  write_file(file, [](std::ostream& stream) { stream << "old"; });
  EXPECT_NO_THROW(check_writable("--save", file, 1000));
  const std::string before = message_of([&] { check_writable("--save", file, 100'000); });
  const std::string during = message_of(
      [&] { write_file(file, [](std::ostream& stream) { stream << std::string(100'000, 'x'); }); });
  const std::string kept = content(file);
  const auto left = std::distance(fs::directory_iterator(disk), fs::directory_iterator());
  ::umount(disk.c_str());
  EXPECT_NE(before.find("0.1 MB free"), std::string::npos) << before;
  EXPECT_NE(during.find("No space left on device"), std::string::npos) << during;
  EXPECT_EQ(kept, "old");
  EXPECT_EQ(left, 1);
}

TEST_F(FileTest, WhatAKilledWriterLeftGoesWithTheNextCheck) {
  const fs::path file = folder_ / "out";
  const pid_t child = ::fork();
  if (child == 0) {
    write_file(file, [](std::ostream& stream) {
      stream << "half" << std::flush;
      ::kill(::getpid(), SIGKILL);
    });
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(files(), 1);
  EXPECT_FALSE(fs::exists(file));
  check_writable("--save", file);
  EXPECT_EQ(files(), 0);
}

TEST_F(FileTest, GrowingFilesAreOpenedAsTheyAre) {
  const fs::path file = folder_ / "metrics";
  std::ofstream(file) << "old";
  EXPECT_NO_THROW(check_growable("--metrics", file));
  EXPECT_EQ(content(file), "old");
  const auto stream = open_growing("--metrics", file);
  *stream << "one" << std::flush;
  EXPECT_EQ(content(file), "one");
  EXPECT_NO_THROW(check_growable("--metrics", folder_ / "new"));
  EXPECT_NE(
      message_of([&] { check_growable("--metrics", folder_ / "no" / "new"); }).find("no folder"),
      std::string::npos);
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
  EXPECT_NO_THROW(FileLock{folder_});  // a folder, too
}

}  // namespace
}  // namespace stagecoach
