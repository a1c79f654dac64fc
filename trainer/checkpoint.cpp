#include "trainer/checkpoint.h"

#include <fcntl.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>
#include <set>
#include <system_error>

#include "core/error.h"
#include "core/file.h"
#include "core/input_file.h"
#include "core/json_file.h"
#include "core/temporary.h"
#include "data/sha256.h"
#include "pipeline/state_dict.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCheckpoint = "checkpoint";
constexpr const char* kFormat = "stagecoach checkpoint 1";
constexpr const char* kManifest = "manifest.json";
constexpr std::string_view kPrefix = "step-";

// What temporary folders are named after.
fs::path temporary_target(const fs::path& directory) {
  return directory / "checkpoint";
}

std::string name_of_step(std::int64_t step) {
  return fmt::format("{}{:08}", kPrefix, step);
}

// -1: no name of a checkpoint.
std::int64_t step_of_name(const std::string& name) {
  const std::string digits = name.substr(std::min(name.size(), kPrefix.size()));
  if (!name.starts_with(kPrefix) || digits.empty() || digits.size() > 18 ||
      digits.find_first_not_of("0123456789") != std::string::npos) {
    return -1;
  }
  return std::stoll(digits);
}

template <typename Value>
Value field(const nlohmann::json& object, const char* key, const fs::path& file) {
  try {
    return object.at(key).get<Value>();
  } catch (const nlohmann::json::exception& error) {
    throw Error(kCheckpoint, fmt::format("\"{}\" in '{}'", key, file.string()), error.what());
  }
}

void check_finite(const std::vector<NamedTensor>& tensors, std::int64_t step) {
  for (const NamedTensor& named : tensors) {
    if (all_finite(named.tensor)) continue;
    throw NumericError(kCheckpoint, "finite weights and states",
                       fmt::format("infinity or NaN in {} after step {}", named.name, step),
                       "it was not written; try a smaller --lr");
  }
}

CheckpointFile write_tensors(const fs::path& folder, const char* name,
                             const std::vector<NamedTensor>& tensors, std::int64_t step) {
  const fs::path file = folder / name;
  write_safetensors(file, tensors, {{"format", "pt"}, {"checkpoint_step", std::to_string(step)}});
  return {name, static_cast<std::int64_t>(fs::file_size(file)), sha256_of_file(file)};
}

// A folder of a checkpoint's name is never half removed.
void remove_whole(const fs::path& folder) {
  std::error_code error;
  const TemporaryFolder aside(temporary_target(folder.parent_path()));
  fs::rename(folder, aside.path() / folder.filename(), error);
}

// The oldest of the run beyond `keep`; what cannot be read is nobody's to remove.
void remove_old(const fs::path& directory, const std::string& run, int keep) {
  int kept = 0;
  for (const fs::path& folder : checkpoints_in(directory)) {
    try {
      if (read_manifest(folder).run == run && ++kept > keep) remove_whole(folder);
    } catch (const Error&) {
      continue;
    }
  }
}

// One of this step that is there already is of a run that went on from before it, or damaged: it
// makes place, at once where the file system can exchange names.
void put_in_place(TemporaryFolder& temporary, const fs::path& folder) {
  if (fs::exists(fs::symlink_status(folder))) {
    if (::renameat2(AT_FDCWD, temporary.path().c_str(), AT_FDCWD, folder.c_str(),
                    RENAME_EXCHANGE) == 0) {
      return;  // the temporary folder is the old one now, and is removed
    }
    remove_whole(folder);
  }
  fs::rename(temporary.path(), folder);
  temporary.keep();
}

}  // namespace

std::string differences(const Settings& wanted, const Settings& got) {
  std::vector<std::string> lines;
  const auto text = [](const Settings& all, const std::string& key) {
    return all.contains(key) ? json_text(all[key]) : "nothing";
  };
  std::set<std::string> keys;
  for (const Settings* all : {&wanted, &got}) {
    for (const auto& [key, value] : all->items()) {
      if (!keys.insert(key).second || text(wanted, key) == text(got, key)) continue;
      lines.push_back(fmt::format("{} {} instead of {}", key, text(got, key), text(wanted, key)));
    }
  }
  return fmt::format("{}", fmt::join(lines, ", "));
}

Checkpoint read_manifest(const fs::path& folder) {
  const fs::path file = folder / kManifest;
  const nlohmann::json json = read_json(kCheckpoint, file, {.most_bytes = 1 << 20});
  STAGECOACH_CHECK(json.is_object(), kCheckpoint, fmt::format("an object in '{}'", file.string()),
                   json.type_name());
  const auto format = field<std::string>(json, "format", file);
  STAGECOACH_CHECK(format == kFormat, kCheckpoint,
                   fmt::format("\"{}\" in '{}'", kFormat, file.string()), format,
                   "another version of Stagecoach wrote it");
  Checkpoint checkpoint;
  checkpoint.folder = folder;
  checkpoint.version = field<std::string>(json, "version", file);
  checkpoint.run = field<std::string>(json, "run", file);
  checkpoint.step = field<std::int64_t>(json, "step", file);
  checkpoint.settings = field<Settings>(json, "settings", file);
  for (const nlohmann::json& entry : field<std::vector<nlohmann::json>>(json, "files", file)) {
    checkpoint.files.push_back({field<std::string>(entry, "name", file),
                                field<std::int64_t>(entry, "bytes", file),
                                field<std::string>(entry, "sha256", file)});
    const fs::path name = checkpoint.files.back().name;
    STAGECOACH_CHECK(name == name.filename() && name != "..", kCheckpoint,
                     fmt::format("names of files in '{}'", file.string()),
                     fmt::format("'{}'", name.string()));
  }
  STAGECOACH_CHECK(checkpoint.step == step_of_name(folder.filename().string()), kCheckpoint,
                   fmt::format("the step of its folder in '{}'", file.string()),
                   fmt::format("{}", checkpoint.step), "was the folder renamed?");
  return checkpoint;
}

void check_whole(const Checkpoint& checkpoint) {
  for (const CheckpointFile& file : checkpoint.files) {
    const fs::path path = checkpoint.folder / file.name;
    check_readable(kCheckpoint, path);
    const auto bytes = static_cast<std::int64_t>(fs::file_size(path));
    STAGECOACH_CHECK(bytes == file.bytes, kCheckpoint,
                     fmt::format("{} bytes in '{}'", file.bytes, path.string()),
                     fmt::format("{}", bytes));
    const std::string sum = sha256_of_file(path);
    STAGECOACH_CHECK(sum == file.sha256, kCheckpoint,
                     fmt::format("the content of '{}' to be as it was written", path.string()),
                     "another SHA-256", "the file is damaged");
  }
}

std::vector<fs::path> checkpoints_in(const fs::path& directory) {
  if (kind_of(kCheckpoint, directory) == FileKind::kNone) return {};
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (step_of_name(it->path().filename().string()) >= 0) found.push_back(it->path());
  }
  STAGECOACH_CHECK(!error, kCheckpoint, fmt::format("to read the folder '{}'", directory.string()),
                   error.message());
  std::ranges::sort(found, std::greater(),
                    [](const fs::path& path) { return step_of_name(path.filename().string()); });
  return found;
}

std::optional<Checkpoint> newest_whole(const fs::path& directory,
                                       std::vector<std::string>& damaged) {
  for (const fs::path& folder : checkpoints_in(directory)) {
    try {
      Checkpoint checkpoint = read_manifest(folder);
      check_whole(checkpoint);
      return checkpoint;
    } catch (const Error& error) {
      damaged.push_back(fmt::format("'{}' is not whole: {}", folder.string(), error.message()));
    }
  }
  return std::nullopt;
}

void check_checkpoint_folder(const fs::path& directory, std::int64_t bytes) {
  std::error_code error;
  fs::create_directories(directory, error);
  STAGECOACH_CHECK(!error, kCheckpoint, fmt::format("to make the folder '{}'", directory.string()),
                   error.message());
  check_writable(kCheckpoint, temporary_target(directory), bytes);
}

void write_checkpoint(const fs::path& directory, const Snapshot& snapshot, const std::string& run,
                      const Settings& settings, int keep) try {
  const fs::path folder = directory / name_of_step(snapshot.step);
  check_finite(snapshot.weights, snapshot.step);
  check_finite(snapshot.optimizer, snapshot.step);
  TemporaryFolder temporary(temporary_target(directory));
  Settings files = Settings::array();
  for (const auto& [name, tensors] : {std::pair("weights.safetensors", &snapshot.weights),
                                      std::pair("optimizer.safetensors", &snapshot.optimizer)}) {
    const CheckpointFile file = write_tensors(temporary.path(), name, *tensors, snapshot.step);
    files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  }
  const Settings manifest = {{"format", kFormat},    {"version", STAGECOACH_VERSION},
                             {"run", run},           {"step", snapshot.step},
                             {"settings", settings}, {"files", files}};
  write_file(temporary.path() / kManifest,
             [&](std::ostream& out) { out << json_text(manifest, 2) << '\n'; });
  put_in_place(temporary, folder);
  STAGECOACH_CHECK(flush_folder(directory), kCheckpoint,
                   fmt::format("to flush {} to the disk", quoted(directory)), std::strerror(errno));
  remove_old(directory, run, keep);
} catch (const fs::filesystem_error& error) {
  throw Error(kCheckpoint,
              fmt::format("to write step {} to '{}'", snapshot.step, directory.string()),
              error.code().message());
}

std::string new_run_name() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}", device(), device());
}

}  // namespace stagecoach
