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

// The files of one process, as the manifest lists them; none where it answers for no state.
Settings write_own_files(const fs::path& folder, const Snapshot& snapshot,
                         const std::string& shard) {
  Settings files = Settings::array();
  if (snapshot.memory.empty()) return files;
  for (const auto& [kind, tensors] :
       {std::pair("weights", &snapshot.weights), std::pair("optimizer", &snapshot.optimizer)}) {
    const std::string name = fmt::format("{}{}.safetensors", kind, shard);
    const fs::path file = folder / name;
    write_safetensors(file, *tensors,
                      {{"format", "pt"}, {"checkpoint_step", std::to_string(snapshot.step)}});
    files.push_back({{"name", name},
                     {"bytes", static_cast<std::int64_t>(fs::file_size(file))},
                     {"sha256", sha256_of_file(file)}});
  }
  return files;
}

// "-00001-of-00002", of those processes that write; empty where that is one.
std::string shard_of(const Snapshot& snapshot, const Processes& processes) {
  int writers = 0, own = 0;
  const std::vector<std::string> writes = processes.of_all(snapshot.memory.empty() ? "" : "writes");
  for (std::size_t process = 0; process < writes.size(); ++process) {
    writers += writes[process].empty() ? 0 : 1;
    if (static_cast<int>(process) == processes.rank()) own = writers;
  }
  return writers == 1 ? "" : fmt::format("-{:05}-of-{:05}", own, writers);
}

Settings all_files(const Settings& own, const Processes& processes) {
  Settings all = Settings::array();
  for (const std::string& text : processes.of_all(json_text(own))) {
    for (const auto& file : Settings::parse(text)) all.push_back(file);
  }
  return all;
}

// Calls `work`; of what it throws, the text, and in `error` the error. Empty: it has thrown
// nothing.
template <typename Work>
std::string error_of(std::exception_ptr& error, const std::string& what, const Work& work) {
  try {
    work();
    return "";
  } catch (const fs::filesystem_error& failure) {
    error = std::make_exception_ptr(Error(kCheckpoint, what, failure.code().message()));
  } catch (...) {
    error = std::current_exception();
  }
  return message_of(error);
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
                      const Settings& settings, int keep, const Processes& processes) {
  // What one process cannot do, no other one waits for.
  std::exception_ptr error;
  const auto attempt = [&](const auto& work) {
    const std::string failure = error_of(
        error, fmt::format("to write step {} to '{}'", snapshot.step, directory.string()), work);
    const std::vector<std::string> all = processes.of_all(failure);
    if (error) std::rethrow_exception(error);
    for (std::size_t process = 0; process < all.size(); ++process) {
      if (!all[process].empty())
        throw PeerError(fmt::format("process {}", process), "no failure", all[process]);
    }
  };
  std::optional<TemporaryFolder> temporary;
  attempt([&] {
    check_finite(snapshot.weights, snapshot.step);
    check_finite(snapshot.optimizer, snapshot.step);
    if (processes.is_first()) temporary.emplace(temporary_target(directory));
  });
  const fs::path folder = processes.of_first(temporary ? temporary->path().string() : "");
  Settings files;
  const std::string shard = shard_of(snapshot, processes);
  attempt([&] { files = write_own_files(folder, snapshot, shard); });
  files = all_files(files, processes);
  attempt([&] {
    if (!temporary) return;
    const Settings manifest = {{"format", kFormat},    {"version", STAGECOACH_VERSION},
                               {"run", run},           {"step", snapshot.step},
                               {"settings", settings}, {"files", files}};
    write_file(folder / kManifest,
               [&](std::ostream& out) { out << json_text(manifest, 2) << '\n'; });
    put_in_place(*temporary, directory / name_of_step(snapshot.step));
    STAGECOACH_CHECK(flush_folder(directory), kCheckpoint,
                     fmt::format("to flush {} to the disk", quoted(directory)),
                     std::strerror(errno));
    remove_old(directory, run, keep);
  });
}

std::string new_run_name() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}", device(), device());
}

}  // namespace stagecoach
