#include "trainer/cli/inspect.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"
#include "core/input_file.h"
#include "core/json_file.h"
#include "core/safetensors.h"
#include "trainer/checkpoint.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

constexpr const char* kInspect = "stagecoach inspect";

std::string size_text(std::int64_t bytes) {
  if (bytes < 10'000) return fmt::format("{} bytes", bytes);
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) * 1e-6);
}

std::string tensors_of(const fs::path& file) {
  const SafetensorsFile tensors(file);
  const std::vector<std::string> names = tensors.names();
  std::int64_t bytes = 0;
  std::size_t widest = 4;
  for (const std::string& name : names) {
    bytes += tensors.entry(name).bytes;
    widest = std::max(widest, name.size());
  }
  std::string text =
      fmt::format("{}: {} tensors, {}\n", file.string(), names.size(), size_text(bytes));
  for (const auto& [key, value] : tensors.metadata()) text += fmt::format("{}: {}\n", key, value);
  text += fmt::format("\n{:<{}}  type  shape\n", "name", widest);
  for (const std::string& name : names) {
    const StoredTensor& tensor = tensors.entry(name);
    text += fmt::format("{:<{}}  {:<4}  [{}]\n", name, widest, tensor.dtype,
                        fmt::join(tensor.shape, ", "));
  }
  return text;
}

std::int64_t bytes_of(const Checkpoint& checkpoint) {
  std::int64_t bytes = 0;
  for (const CheckpointFile& file : checkpoint.files) bytes += file.bytes;
  return bytes;
}

InspectOutcome inspect_checkpoint(const fs::path& folder) {
  const Checkpoint checkpoint = read_manifest(folder);
  InspectOutcome outcome;
  outcome.text = fmt::format(
      "{}: checkpoint after step {}, {}\nrun {}, written by stagecoach {}\n\n", folder.string(),
      checkpoint.step, size_text(bytes_of(checkpoint)), checkpoint.run, checkpoint.version);
  for (const auto& [key, value] : checkpoint.settings.items()) {
    outcome.text += fmt::format("{:<16} {}\n", key,
                                value.is_string() ? value.get<std::string>() : json_text(value));
  }
  outcome.text += '\n';
  try {
    check_whole(checkpoint);
    for (const CheckpointFile& file : checkpoint.files) {
      outcome.text += tensors_of(folder / file.name) + '\n';
    }
    outcome.text += "whole: sizes and SHA-256 are those of the manifest\n";
  } catch (const Error& error) {
    outcome.failures.push_back(error.message());
  }
  return outcome;
}

InspectOutcome inspect_folder(const fs::path& directory) {
  InspectOutcome outcome;
  for (const fs::path& folder : checkpoints_in(directory)) {
    try {
      const Checkpoint checkpoint = read_manifest(folder);
      check_whole(checkpoint);
      outcome.text += fmt::format("{}  whole, {}, run {}\n", folder.filename().string(),
                                  size_text(bytes_of(checkpoint)), checkpoint.run);
    } catch (const Error& error) {
      outcome.text += fmt::format("{}  not whole\n", folder.filename().string());
      outcome.failures.push_back(error.message());
    }
  }
  STAGECOACH_CHECK(!outcome.text.empty(), kInspect, "a checkpoint, or a folder of checkpoints",
                   fmt::format("'{}' without any", directory.string()));
  return outcome;
}

}  // namespace

InspectOutcome inspect(const fs::path& path) {
  if (kind_of(kInspect, path) != FileKind::kFolder) return {tensors_of(path), {}};
  if (kind_of(kInspect, path / "manifest.json") != FileKind::kNone) return inspect_checkpoint(path);
  return inspect_folder(path);
}

}  // namespace stagecoach
