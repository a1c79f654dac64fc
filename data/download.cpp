#include "data/download.h"

#include <archive.h>
#include <archive_entry.h>
#include <curl/curl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/temporary.h"
#include "data/sha256.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDownload = "download";
constexpr const char* kUnpack = "unpack";

// A file that is written and summed at once.
class SummedFile {
 public:
  SummedFile(const fs::path& file, std::int64_t most_bytes)
      : file_(file), room_(most_bytes), stream_(file, std::ios::binary) {
    STAGECOACH_CHECK(stream_.is_open(), kDownload, fmt::format("to write '{}'", file.string()),
                     std::strerror(errno));
  }

  // False when the bytes could not be written; failure() then says why.
  bool write(const char* data, std::size_t bytes) {
    room_ -= static_cast<std::int64_t>(bytes);
    if (room_ < 0) {
      failure_ = "more bytes than it may have";
      return false;
    }
    if (!stream_.write(data, static_cast<std::streamsize>(bytes))) {
      failure_ = std::strerror(errno);
      return false;
    }
    sum_.add(data, bytes);
    return true;
  }
  // Ends writing and returns the sum as hexadecimal digits.
  std::string finish() {
    stream_.close();
    STAGECOACH_CHECK(stream_.good(), kDownload, fmt::format("to write '{}'", file_.string()),
                     std::strerror(errno), "is the disk full?");
    return sum_.finish();
  }
  const std::string& failure() const { return failure_; }

 private:
  fs::path file_;
  std::int64_t room_;  // bytes
  std::ofstream stream_;
  Sha256 sum_;
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
    print(fmt::format("\r[{:<{}}] {:3} % of {:.1f} MB", std::string(filled, '='), kWidth, percent,
                      static_cast<double>(total) * 1e-6));
  }
  ~ProgressBar() {
    if (percent >= 0) print("\n");
  }
  // Not by fmt::print, which throws when the terminal is gone.
  static void print(const std::string& text) {
    std::fputs(text.c_str(), stderr);
    std::fflush(stderr);
  }
};

std::size_t on_bytes(char* data, std::size_t size, std::size_t count, void* file) {
  return static_cast<SummedFile*>(file)->write(data, size * count) ? size * count : 0;
}

// Another result than 0 ends the transfer. `bar`: may be null.
int on_progress(void* bar, curl_off_t total, curl_off_t now, curl_off_t, curl_off_t) {
  if (bar != nullptr) static_cast<ProgressBar*>(bar)->show(total, now);
  return interrupt_signal();
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

// What began encrypted stays so, and nobody is led to files of this machine.
void allow_protocols(CURL* curl, const std::string& url) {
  const bool encrypted = url.starts_with("https:");
#if LIBCURL_VERSION_NUM >= 0x075500
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https,http,file");
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, encrypted ? "https" : "https,http");
#else
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS, CURLPROTO_HTTPS | CURLPROTO_HTTP | CURLPROTO_FILE);
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS,
                   encrypted ? CURLPROTO_HTTPS : CURLPROTO_HTTPS | CURLPROTO_HTTP);
#endif
}

// Downloads the archive to `file` and returns its SHA-256.
std::string fetch(const Archive& archive, const fs::path& file, bool quiet) {
  const std::string& url = archive.url;
  static const CURLcode initialized = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(),
                                                                 curl_easy_cleanup);
  STAGECOACH_CHECK(initialized == CURLE_OK && curl, kDownload, "a working libcurl",
                   curl_easy_strerror(initialized));
  SummedFile output(file, archive.most_bytes);
  ProgressBar bar;
  std::array<char, CURL_ERROR_SIZE> message{};
  const bool shown = !quiet && ::isatty(STDERR_FILENO) == 1;
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  allow_protocols(curl.get(), url);
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
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFODATA, shown ? &bar : nullptr);
  curl_easy_setopt(curl.get(), CURLOPT_NOPROGRESS, 0L);
  const CURLcode code = curl_easy_perform(curl.get());
  check_interrupt(kDownload);
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

// libarchive's words, which may be none.
std::string archive_error(archive* reader) {
  const char* text = archive_error_string(reader);
  return text == nullptr ? "a damaged one" : text;
}

// `room`: bytes that it may have, and less afterwards.
void write_entry(archive* reader, const fs::path& file, std::int64_t& room) {
  fs::create_directories(file.parent_path());
  std::ofstream stream(file, std::ios::binary);
  std::vector<char> block(1 << 20);
  while (stream.good()) {
    const la_ssize_t bytes = archive_read_data(reader, block.data(), block.size());
    STAGECOACH_CHECK(bytes >= 0, kUnpack, "an undamaged archive", archive_error(reader));
    if (bytes == 0) break;
    room -= bytes;
    STAGECOACH_CHECK(room >= 0, kUnpack, "an archive that is not larger than it may be",
                     fmt::format("more in '{}'", file.filename().string()),
                     "the archive is not to be trusted");
    check_interrupt(kUnpack);
    stream.write(block.data(), bytes);
  }
  stream.close();
  STAGECOACH_CHECK(stream.good(), kUnpack, fmt::format("to write '{}'", file.string()),
                   std::strerror(errno), "is the disk full?");
}

// Unpacks the regular files of a tar.gz, of at most so many bytes, into `folder`.
void unpack(const fs::path& file, std::int64_t most_bytes, const fs::path& folder) {
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
    write_entry(reader.get(), folder / safe_name(entry), most_bytes);
    ++files;
  }
  STAGECOACH_CHECK(status == ARCHIVE_EOF, kUnpack, "an undamaged tar.gz archive",
                   archive_error(reader.get()));
  STAGECOACH_CHECK(files > 0, kUnpack, "an archive with files", "none");
}

// Moves what is in `from` into `to`. What had the same name there is put aside first, so that it
// comes back when that fails.
void move_all(const fs::path& from, const fs::path& to, const fs::path& aside) {
  fs::create_directories(to);
  fs::create_directories(aside);
  for (const fs::directory_entry& entry : fs::directory_iterator(from)) {
    const fs::path name = entry.path().filename(), target = to / name;
    const bool replaces = fs::exists(fs::symlink_status(target));
    if (replaces) fs::rename(target, aside / name);
    try {
      fs::rename(entry.path(), target);
    } catch (const fs::filesystem_error&) {
      std::error_code ignored;
      if (replaces) fs::rename(aside / name, target, ignored);
      throw;
    }
  }
}

}  // namespace

Archive cifar10_archive() {
  return {.url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
          .sha256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
          .most_bytes = 170'052'171};
}

void download_and_unpack(const Archive& archive, const fs::path& directory, bool quiet,
                         const std::function<void(const fs::path&)>& check) try {
  fs::path target = fs::absolute(directory).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();  // "folder/"
  fs::create_directories(target.parent_path());
  remove_abandoned(target);
  const TemporaryFolder temporary(target);
  const fs::path file = temporary.path() / "archive";
  const std::string sum = fetch(archive, file, quiet);
  STAGECOACH_CHECK(sum == archive.sha256, kDownload,
                   fmt::format("SHA-256 {} of '{}'", archive.sha256, archive.url), sum,
                   "the file is damaged or is not the one that was meant");
  const fs::path unpacked = temporary.path() / "unpacked";
  unpack(file, archive.most_unpacked_bytes, unpacked);
  check(unpacked);
  move_all(unpacked, target, temporary.path() / "replaced");
} catch (const fs::filesystem_error& error) {
  throw Error(kDownload, fmt::format("to write '{}'", directory.string()), error.what());
}

}  // namespace stagecoach
