// Checkpoints: all that a training needs to go on with the same bits, whatever it goes on with.
//
// A folder DIR has one folder for each checkpoint:
//
//     DIR/step-00000120/weights.safetensors     parameters and buffers, under torchvision's names
//                       optimizer.safetensors   its states, under PyTorch's: NAME.momentum_buffer
//                       manifest.json           step, settings; sizes and SHA-256 of the files
//
// Where several processes hold the state, each writes what it has:
//
//     DIR/step-00000120/weights-00001-of-00002.safetensors, optimizer-00001-of-00002.safetensors
//     ...
//
// It is written under another name, flushed, and renamed, the manifest last: a folder of this name
// is whole, or was damaged later. What is in the files, taken together, does not depend on stages,
// cuts, schedule, threads or processes.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/safetensors.h"
#include "trainer/processes.h"

namespace stagecoach {

// What decides the bits of a training beside its state: by names for people, in their order.
using Settings = nlohmann::ordered_json;

// What two lists do not have in common, for people: "seed 1 instead of 2"; empty: nothing.
std::string differences(const Settings& wanted, const Settings& got);

struct CheckpointFile {
  std::string name;
  std::int64_t bytes = 0;
  std::string sha256;
};

struct Checkpoint {
  std::filesystem::path folder;
  std::string version;    // of the library that wrote it
  std::string run;        // random digits: of one training, however often it went on
  std::int64_t step = 0;  // training steps that are in it
  Settings settings;
  std::vector<CheckpointFile> files;
};

// The state of a training after a step, in memory of its own.
struct Snapshot {
  std::int64_t step = 0;
  std::vector<NamedTensor> weights, optimizer;
  std::deque<OwnedTensor> memory;  // of both
};

// By its manifest. Throws Error naming what is missing or wrong; the other files are not read.
Checkpoint read_manifest(const std::filesystem::path& folder);
// Throws Error naming the file that is missing, or has another size or sum.
void check_whole(const Checkpoint& checkpoint);

// Step folders in DIR, the newest first; empty where DIR does not exist.
std::vector<std::filesystem::path> checkpoints_in(const std::filesystem::path& directory);
// The newest whole one. Those that are damaged get a line in `damaged` and are left as they are.
std::optional<Checkpoint> newest_whole(const std::filesystem::path& directory,
                                       std::vector<std::string>& damaged);

// Throws Error unless checkpoints of `bytes` can be written into `directory`, which is made where
// it is missing. Removes what killed processes left there. For checking before long work.
void check_checkpoint_folder(const std::filesystem::path& directory, std::int64_t bytes);
// Writes `snapshot` and then removes the oldest whole ones of the same run, so that `keep` are
// left. Throws NumericError for state that is not finite, Error naming the file and the reason;
// then nothing is removed. Of several processes all call it, each with the part of the state that
// it answers for, and the folder is one that all reach; what fails in one of them, all throw.
void write_checkpoint(const std::filesystem::path& directory, const Snapshot& snapshot,
                      const std::string& run, const Settings& settings, int keep,
                      const Processes& processes = Processes());

std::string new_run_name();

}  // namespace stagecoach
