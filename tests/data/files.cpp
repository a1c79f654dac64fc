#include "tests/data/files.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "core/error.h"
#include "data/sha256.h"

namespace stagecoach::testing {

namespace fs = std::filesystem;

std::vector<std::string> TemporaryFolder::names() const {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path())) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

namespace {
void set_variable(const std::string& name, const std::optional<std::string>& value) {
  if (value) {
    ::setenv(name.c_str(), value->c_str(), 1);
  } else {
    ::unsetenv(name.c_str());
  }
}
}  // namespace

ScopedVariable::ScopedVariable(std::string name, std::optional<std::string> value)
    : name_(std::move(name)) {
  if (const char* before = std::getenv(name_.c_str())) before_ = before;
  set_variable(name_, value);
}

ScopedVariable::~ScopedVariable() {
  set_variable(name_, before_);
}

std::uint8_t cifar_byte(int salt, std::int64_t record, std::int64_t i) {
  if (i == 0) return static_cast<std::uint8_t>((salt + record * 7) % 10);
  return static_cast<std::uint8_t>(salt * 31 + record * 101 + i * 13 + i / 1024);
}

void write_cifar_file(const fs::path& file, int salt, std::int64_t records, std::int64_t bytes) {
  fs::create_directories(file.parent_path());
  {
    std::ofstream stream(file, std::ios::binary);
    for (std::int64_t record = 0; record < records; ++record) {
      for (std::int64_t i = 0; i < kCifarRecordBytes; ++i) {
        stream.put(static_cast<char>(cifar_byte(salt, record, i)));
      }
    }
  }
  fs::resize_file(file, bytes);
}

void set_byte(const fs::path& file, std::int64_t offset, std::uint8_t value) {
  std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
  stream.seekp(offset);
  stream.put(static_cast<char>(value));
}

std::string read_text(const fs::path& file) {
  std::ostringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}

Archive make_archive(const fs::path& file, const std::vector<Entry>& entries) {
  archive* writer = archive_write_new();
  archive_write_add_filter_gzip(writer);
  archive_write_set_filter_option(writer, "gzip", "compression-level", "1");
  archive_write_set_format_pax_restricted(writer);
  archive_write_open_filename(writer, file.c_str());
  for (const Entry& item : entries) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, item.name.c_str());
    archive_entry_set_perm(entry, 0644);
    if (item.link_to.empty()) {
      archive_entry_set_filetype(entry, AE_IFREG);
      archive_entry_set_size(entry, static_cast<la_int64_t>(item.content.size()));
    } else {
      archive_entry_set_filetype(entry, AE_IFLNK);
      archive_entry_set_symlink(entry, item.link_to.c_str());
    }
    archive_write_header(writer, entry);
    archive_write_data(writer, item.content.data(), item.content.size());
    archive_entry_free(entry);
  }
  archive_write_free(writer);
  return {.url = "file://" + file.string(), .sha256 = sha256_of_file(file)};
}

}  // namespace stagecoach::testing
