#include "data/download.h"

#include <archive.h>
#include <archive_entry.h>
#include <curl/curl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "core/error.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDownload = "download";
constexpr const char* kUnpack = "unpack";

// A new folder beside `directory`, removed with everything in it.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const fs::path& directory) {
    fs::create_directories(directory.parent_path());
    std::string name = directory.string() + ".tmp-XXXXXX";
    STAGECOACH_CHECK(::mkdtemp(name.data()) != nullptr, kDownload,
                     fmt::format("a writable folder '{}'", directory.parent_path().string()),
                     std::strerror(errno));
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// A file that is written and summed at once.
class SummedFile {
 public:
  explicit SummedFile(const fs::path& file)
      : file_(file), stream_(file, std::ios::binary), digest_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    STAGECOACH_CHECK(stream_.is_open(), kDownload, fmt::format("to write '{}'", file.string()),
                     std::strerror(errno));
    STAGECOACH_CHECK(digest_ && EVP_DigestInit_ex(digest_.get(), EVP_md5(), nullptr) == 1,
                     kDownload, "MD5 sums", "an OpenSSL without them");
  }

  // False when the bytes could not be written; failure() then says why.
  bool write(const char* data, std::size_t bytes) {
    if (!stream_.write(data, static_cast<std::streamsize>(bytes))) {
      failure_ = std::strerror(errno);
      return false;
    }
    return EVP_DigestUpdate(digest_.get(), data, bytes) == 1;
  }
  // Ends writing and returns the sum as hexadecimal digits.
  std::string finish() {
    stream_.close();
    STAGECOACH_CHECK(stream_.good(), kDownload, fmt::format("to write '{}'", file_.string()),
                     std::strerror(errno), "is the disk full?");
    std::array<unsigned char, EVP_MAX_MD_SIZE> sum;
    unsigned int bytes = 0;
    EVP_DigestFinal_ex(digest_.get(), sum.data(), &bytes);
    std::string digits;
    for (unsigned int i = 0; i < bytes; ++i) digits += fmt::format("{:02x}", sum[i]);
    return digits;
  }
  const std::string& failure() const { return failure_; }

 private:
  fs::path file_;
  std::ofstream stream_;
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> digest_;
  std::string failure_;
};

// One line on stderr, drawn again when the percentage changes.
struct ProgressBar {
  static constexpr int kWidth = 40;
  int percent = -1;

  void show(curl_off_t total, curl_off_t now) {
    if (total <= 0) return;
    const int new_percent = static_cast<int>(now * 100 / total);
    if (new_percent == percent) return;
    percent = new_percent;
    const int filled = percent * kWidth / 100;
    fmt::print(stderr, "\r[{:<{}}] {:3} % of {:.1f} MB", std::string(filled, '='), kWidth, percent,
               static_cast<double>(total) * 1e-6);
    std::fflush(stderr);
  }
  ~ProgressBar() {
    if (percent >= 0) fmt::print(stderr, "\n");
  }
};

std::size_t on_bytes(char* data, std::size_t size, std::size_t count, void* file) {
  return static_cast<SummedFile*>(file)->write(data, size * count) ? size * count : 0;
}

int on_progress(void* bar, curl_off_t total, curl_off_t now, curl_off_t, curl_off_t) {
  static_cast<ProgressBar*>(bar)->show(total, now);
  return 0;
}

[[noreturn]] void throw_transfer_error(const std::string& url, CURL* curl, CURLcode code,
                                       const char* message, const SummedFile& file) {
  const std::string expected = fmt::format("'{}'", url);
  const std::string reason = *message != '\0' ? message : curl_easy_strerror(code);
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
      throw Error(kDownload, expected, fmt::format("no connection: {}", reason),
                  "is there a network?");
    case CURLE_HTTP_RETURNED_ERROR: {
      long status = 0;
      curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
      throw Error(kDownload, expected, fmt::format("HTTP status {}", status));
    }
    case CURLE_WRITE_ERROR:
      throw Error(kDownload, "to write the archive",
                  file.failure().empty() ? reason : file.failure(), "is the disk full?");
    default:
      throw Error(kDownload, expected, reason);
  }
}

// Downloads `url` to `file` and returns its MD5.
std::string fetch(const std::string& url, const fs::path& file, bool quiet) {
  static const CURLcode initialized = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(),
                                                                 curl_easy_cleanup);
  STAGECOACH_CHECK(initialized == CURLE_OK && curl, kDownload, "a working libcurl",
                   curl_easy_strerror(initialized));
  SummedFile output(file);
  ProgressBar bar;
  std::array<char, CURL_ERROR_SIZE> message{};
  const bool shown = !quiet && ::isatty(STDERR_FILENO) == 1;
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_USERAGENT, "stagecoach");
  curl_easy_setopt(curl.get(), CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_MAXREDIRS, 10L);
  curl_easy_setopt(curl.get(), CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);  // signals are not for threads
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT, 10L);
  // Given up when less than a kilobyte a second came for a minute.
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_LIMIT, 1000L);
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_TIME, 60L);
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, message.data());
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, on_bytes);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &output);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFODATA, &bar);
  curl_easy_setopt(curl.get(), CURLOPT_NOPROGRESS, shown ? 0L : 1L);
  const CURLcode code = curl_easy_perform(curl.get());
  if (code != CURLE_OK) throw_transfer_error(url, curl.get(), code, message.data(), output);
  return output.finish();
}

// The path of an entry within the folder that it is unpacked to. Links are never unpacked, so a
// relative name without ".." cannot leave the folder.
fs::path safe_name(archive_entry* entry) {
  const char* name = archive_entry_pathname(entry);
  const fs::path path = fs::path(name == nullptr ? "" : name);
  bool safe = !path.empty() && path.is_relative();
  for (const fs::path& part : path) safe = safe && part != "..";
  STAGECOACH_CHECK(safe, kUnpack, "names of files within the folder",
                   fmt::format("'{}'", path.string()), "the archive is not to be trusted");
  return path;
}

void write_entry(archive* reader, const fs::path& file) {
  fs::create_directories(file.parent_path());
  std::ofstream stream(file, std::ios::binary);
  std::vector<char> block(1 << 20);
  while (stream.good()) {
    const la_ssize_t bytes = archive_read_data(reader, block.data(), block.size());
    STAGECOACH_CHECK(bytes >= 0, kUnpack, "an undamaged archive", archive_error_string(reader));
    if (bytes == 0) break;
    stream.write(block.data(), bytes);
  }
  stream.close();
  STAGECOACH_CHECK(stream.good(), kUnpack, fmt::format("to write '{}'", file.string()),
                   std::strerror(errno), "is the disk full?");
}

// Unpacks the regular files of a tar.gz into `folder`.
void unpack(const fs::path& file, const fs::path& folder) {
  const std::unique_ptr<archive, decltype(&archive_read_free)> reader(archive_read_new(),
                                                                      archive_read_free);
  STAGECOACH_CHECK(reader != nullptr, kUnpack, "memory to read an archive", "none");
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_format_tar(reader.get());
  int files = 0;
  archive_entry* entry = nullptr;
  int status = archive_read_open_filename(reader.get(), file.c_str(), 1 << 20);
  while (status >= ARCHIVE_WARN) {
    status = archive_read_next_header(reader.get(), &entry);
    if (status == ARCHIVE_EOF || status < ARCHIVE_WARN) break;
    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry)) continue;
    write_entry(reader.get(), folder / safe_name(entry));
    ++files;
  }
  STAGECOACH_CHECK(status == ARCHIVE_EOF, kUnpack, "an undamaged tar.gz archive",
                   archive_error_string(reader.get()));
  STAGECOACH_CHECK(files > 0, kUnpack, "an archive with files", "none");
}

// Moves what is in `from` into `to`; what had the same name there makes place.
void move_all(const fs::path& from, const fs::path& to) {
  fs::create_directories(to);
  for (const fs::directory_entry& entry : fs::directory_iterator(from)) {
    const fs::path target = to / entry.path().filename();
    fs::remove_all(target);
    fs::rename(entry.path(), target);
  }
}

}  // namespace

Archive cifar10_archive() {
  return {.url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
          .md5 = "c32a1d4ab5d03f1284b67883e8d87530"};
}

void download_and_unpack(const Archive& archive, const fs::path& directory, bool quiet) try {
  fs::path target = fs::absolute(directory).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();  // "folder/"
  const TemporaryFolder temporary(target);
  const fs::path file = temporary.path() / "archive";
  const std::string sum = fetch(archive.url, file, quiet);
  STAGECOACH_CHECK(sum == archive.md5, kDownload,
                   fmt::format("MD5 {} of '{}'", archive.md5, archive.url), fmt::format("{}", sum),
                   "the file is damaged or is not the one that was meant");
  const fs::path unpacked = temporary.path() / "unpacked";
  unpack(file, unpacked);
  move_all(unpacked, target);
} catch (const fs::filesystem_error& error) {
  throw Error(kDownload, fmt::format("to write '{}'", directory.string()), error.what());
}

}  // namespace stagecoach
