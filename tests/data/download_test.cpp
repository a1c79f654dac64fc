#include "data/download.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "data/sha256.h"
#include "tests/data/files.h"
#include "tests/data/http_server.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;
using testing::make_archive;
using testing::read_text;

// An archive goes from `source_` to the folder "data" in `place_`.
class Download : public ::testing::Test {
 protected:
  fs::path target() const { return place_.path() / "data"; }
  fs::path archive_file() const { return source_.path() / "archive.tar.gz"; }
  Archive good_archive() const {
    return make_archive(archive_file(), {{"sub/a.bin", "first"}, {"b.bin", "second"}});
  }
  // The message of the Error that the download throws, which must leave nothing behind.
  std::string failure(const Archive& archive) const {
    const std::vector<std::string> before = place_.names();
    std::string message;
    try {
      download_and_unpack(archive, target(), true);
    } catch (const Error& error) {
      message = error.message();
    }
    EXPECT_EQ(place_.names(), before);
    return message;
  }
  void truncate_archive() const {
    fs::resize_file(archive_file(), fs::file_size(archive_file()) / 2);
  }

  const testing::TemporaryFolder source_, place_;

 private:
  const testing::ScopedVariable no_proxy_{"no_proxy", "127.0.0.1"};
};

TEST_F(Download, UnpacksFilesAndLeavesNothingElse) {
  download_and_unpack(good_archive(), target(), true);
  EXPECT_EQ(place_.names(), std::vector<std::string>{"data"});
  EXPECT_EQ(read_text(target() / "sub" / "a.bin"), "first");
  EXPECT_EQ(read_text(target() / "b.bin"), "second");
}

TEST_F(Download, MakesTheFoldersAboveAndTakesATrailingSlash) {
  download_and_unpack(good_archive(), place_.path() / "above" / "data" / "", true);
  EXPECT_EQ(read_text(place_.path() / "above" / "data" / "b.bin"), "second");
}

TEST_F(Download, ReplacesOnlyWhatItBrings) {
  download_and_unpack(good_archive(), target(), true);
  testing::set_byte(target() / "sub" / "a.bin", 0, 'F');
  fs::copy_file(target() / "b.bin", target() / "mine.bin");
  download_and_unpack(good_archive(), target(), true);
  EXPECT_EQ(read_text(target() / "sub" / "a.bin"), "first");
  EXPECT_EQ(read_text(target() / "mine.bin"), "second");
}

TEST_F(Download, AFailureKeepsTheFolderAsItWas) {
  download_and_unpack(good_archive(), target(), true);
  testing::set_byte(target() / "sub" / "a.bin", 0, 'F');
  Archive archive = good_archive();
  archive.sha256.assign(64, '0');
  EXPECT_NE(failure(archive), "");
  EXPECT_EQ(read_text(target() / "sub" / "a.bin"), "First");
  EXPECT_EQ(read_text(target() / "b.bin"), "second");
}

TEST_F(Download, NamesBothSumsWhenTheyDiffer) {
  Archive archive = good_archive();
  const std::string sum = archive.sha256;
  archive.sha256 = "0123456789abcdef0123456789abcdef";
  const std::string message = failure(archive);
  EXPECT_CONTAINS(message, "expected SHA-256 0123456789abcdef0123456789abcdef");
  EXPECT_CONTAINS(message, "got " + sum);
}

TEST_F(Download, RefusesATruncatedArchive) {
  std::string content;  // that cannot be compressed to nothing
  for (std::int64_t i = 0; i < 100000; ++i) content += static_cast<char>(i * i >> 5);
  Archive archive = make_archive(archive_file(), {{"a.bin", content}, {"b.bin", content}});
  truncate_archive();
  EXPECT_CONTAINS(failure(archive), "SHA-256");
  archive.sha256 = sha256_of_file(archive_file());
  EXPECT_CONTAINS(failure(archive), "expected an undamaged");
}

TEST_F(Download, RefusesWhatIsNoArchive) {
  testing::write_cifar_file(archive_file(), 1, 1, 5000);
  Archive archive{"file://" + archive_file().string(), sha256_of_file(archive_file())};
  EXPECT_CONTAINS(failure(archive), "expected an undamaged tar.gz archive");
  EXPECT_CONTAINS(failure(make_archive(archive_file(), {})), "expected an archive with files");
}

TEST_F(Download, RefusesNamesThatLeaveTheFolder) {
  for (const std::string name : {"../evil", "sub/../../evil", "/evil", "sub/../../../evil"}) {
    const Archive archive = make_archive(archive_file(), {{"good", "x"}, {name, "evil"}});
    EXPECT_CONTAINS(failure(archive), name);
    EXPECT_FALSE(fs::exists(place_.path().parent_path() / "evil"));
    EXPECT_FALSE(fs::exists("/evil"));
  }
}

TEST_F(Download, UnpacksNoLinks) {
  const testing::TemporaryFolder outside;
  download_and_unpack(
      make_archive(archive_file(),
                   {{"link", "", outside.path().string()}, {"link/evil", "evil"}, {"good", "x"}}),
      target(), true);
  EXPECT_TRUE(outside.names().empty());
  EXPECT_FALSE(fs::is_symlink(target() / "link"));
  EXPECT_EQ(read_text(target() / "good"), "x");
}

TEST_F(Download, SaysThatThereIsNoConnection) {
  const std::string message = failure({"http://127.0.0.1:9/archive.tar.gz", std::string(64, '0')});
  EXPECT_CONTAINS(message, "no connection");
  EXPECT_CONTAINS(message, "http://127.0.0.1:9/archive.tar.gz");
}

TEST_F(Download, SaysThatThereIsNoSuchFile) {
  const std::string url = "file://" + (source_.path() / "none").string();
  EXPECT_CONTAINS(failure({url, std::string(64, '0')}), url);
}

TEST_F(Download, SaysWhichFolderCannotBeWritten) {
  testing::write_cifar_file(place_.path() / "file", 1, 0, 1);
  try {
    download_and_unpack(good_archive(), place_.path() / "file" / "data", true);
    FAIL() << "a file served as a folder";
  } catch (const Error& error) {
    EXPECT_CONTAINS(error.message(), (place_.path() / "file").string());
  }
}

TEST_F(Download, FollowsRedirectsAndNamesTheStatus) {
  const std::string sum = good_archive().sha256;
  const std::string body = read_text(archive_file());
  const std::string length = std::to_string(body.size());
  const testing::HttpServer server({
      {"/moved", "HTTP/1.1 302 Found\r\nLocation: /here\r\nContent-Length: 0\r\n\r\n"},
      {"/here", "HTTP/1.1 200 OK\r\nContent-Length: " + length + "\r\n\r\n" + body},
      {"/cut", "HTTP/1.1 200 OK\r\nContent-Length: " + length + "\r\n\r\n" + body.substr(1)},
  });
  EXPECT_CONTAINS(failure({server.url("/none"), sum}), "HTTP status 404");
  EXPECT_CONTAINS(failure({server.url("/cut"), sum}), server.url("/cut"));
  download_and_unpack({server.url("/moved"), sum}, target(), true);
  EXPECT_EQ(read_text(target() / "b.bin"), "second");
}

TEST_F(Download, WhatIsTooLargeEndsBeforeItFillsTheDisk) {
  Archive archive = good_archive();
  archive.most_bytes = 10;
  EXPECT_CONTAINS(failure(archive), "more bytes than it may have");
  archive = make_archive(archive_file(), {{"zeros", std::string(100'000, '\0')}, {"b", "x"}});
  archive.most_unpacked_bytes = 100'000;
  EXPECT_CONTAINS(failure(archive), "an archive that is not larger than it may be");
  archive.most_unpacked_bytes = 100'001;
  EXPECT_NO_THROW(download_and_unpack(archive, target(), true));
}

TEST_F(Download, WhatTheCheckRefusesIsNotTaken) {
  download_and_unpack(good_archive(), target(), true);
  testing::set_byte(target() / "b.bin", 0, 'S');
  std::string seen;
  EXPECT_THROW(download_and_unpack(good_archive(), target(), true,
                                   [&](const fs::path& folder) {
                                     seen = read_text(folder / "b.bin");
                                     throw Error("check", "good files", "bad ones");
                                   }),
               Error);
  EXPECT_EQ(seen, "second");
  EXPECT_EQ(read_text(target() / "b.bin"), "Second");
  EXPECT_EQ(place_.names(), std::vector<std::string>{"data"});
}

TEST_F(Download, ARedirectMayNotLeadToFilesOfThisMachine) {
  const testing::HttpServer server(
      {{"/moved", "HTTP/1.1 302 Found\r\nLocation: file://" + archive_file().string() +
                      "\r\nContent-Length: 0\r\n\r\n"}});
  const std::string sum = good_archive().sha256;
  EXPECT_CONTAINS(failure({server.url("/moved"), sum}), server.url("/moved"));
}

TEST(Cifar10Archive, IsTheOfficialOne) {
  EXPECT_EQ(cifar10_archive().url, "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz");
  EXPECT_EQ(cifar10_archive().sha256,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd");
}

}  // namespace
}  // namespace stagecoach
