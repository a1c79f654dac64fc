#include "trainer/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <limits>

#include "core/error.h"
#include "tests/trainer/program_run.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;
using testing::content_of;
using testing::expect_has;
using testing::ScratchFolder;
using testing::write_text;

Snapshot snapshot_of(std::int64_t step, float value = 1) {
  Snapshot snapshot;
  snapshot.step = step;
  for (auto* tensors : {&snapshot.weights, &snapshot.optimizer}) {
    const bool weights = tensors == &snapshot.weights;
    const Tensor& tensor = snapshot.memory.emplace_back(row_major({3, 2})).tensor;
    std::fill_n(tensor.as<float>(), tensor.elements(), value);
    tensors->push_back({weights ? "a.weight" : "a.weight.momentum_buffer", tensor});
  }
  return snapshot;
}

class CheckpointTest : public ::testing::Test {
 protected:
  fs::path folder() const { return scratch_.path() / "checkpoints"; }
  fs::path of_step(std::int64_t step) const { return folder() / fmt::format("step-{:08}", step); }
  void SetUp() override { check_checkpoint_folder(folder(), 100); }
  void write(std::int64_t step, const std::string& run = "run", int keep = 100) const {
    write_checkpoint(folder(), snapshot_of(step), run, settings_, keep);
  }
  std::int64_t newest(std::size_t damaged = 0) const {
    std::vector<std::string> lines;
    const auto found = newest_whole(folder(), lines);
    EXPECT_EQ(lines.size(), damaged);
    return found ? found->step : -1;
  }
  std::size_t entries() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder()), fs::directory_iterator()));
  }

  const ScratchFolder scratch_;
  const Settings settings_ = {{"seed", 3}, {"batch", 8}, {"rate", 0.1}};
};

TEST_F(CheckpointTest, HoldsWhatItWasGiven) {
  write(120);
  std::vector<std::string> damaged;
  const auto found = newest_whole(folder(), damaged);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->step, 120);
  EXPECT_EQ(found->run, "run");
  EXPECT_EQ(found->version, STAGECOACH_VERSION);
  EXPECT_EQ(differences(found->settings, settings_), "");
  EXPECT_EQ(found->folder, of_step(120));
  const SafetensorsFile weights(of_step(120) / "weights.safetensors"),
      optimizer(of_step(120) / "optimizer.safetensors");
  EXPECT_EQ(weights.names(), std::vector<std::string>{"a.weight"});
  EXPECT_EQ(optimizer.names(), std::vector<std::string>{"a.weight.momentum_buffer"});
  EXPECT_EQ(weights.metadata().at("checkpoint_step"), "120");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(CheckpointTest, NoneIsNone) {
  EXPECT_EQ(newest(), -1);
  fs::remove(folder());
  EXPECT_EQ(newest(), -1);
}

TEST_F(CheckpointTest, OnlyTheNewestOfTheRunStay) {
  write(5, "another");
  write_text(folder() / "notes", "somebody's");
  fs::create_directories(folder() / "step-mine");
  fs::create_directories(of_step(7));  // somebody's, or damaged: no manifest
  for (const int step : {10, 20, 9, 30, 100}) write(step, "run", 3);
  std::vector<std::string> names;
  for (const fs::path& path : checkpoints_in(folder())) names.push_back(path.filename());
  EXPECT_EQ(names, (std::vector<std::string>{"step-00000100", "step-00000030", "step-00000020",
                                             "step-00000007", "step-00000005"}));
  EXPECT_EQ(entries(), 7u);
}

// Every file of it, cut off anywhere, missing, or with a bit that is another one.
TEST_F(CheckpointTest, WhatIsDamagedIsNamedAndSkipped) {
  write(1);
  for (const char* name : {"weights.safetensors", "optimizer.safetensors", "manifest.json"}) {
    const fs::path file = of_step(2) / name;
    write(2);
    const std::string whole = content_of(file);
    const auto expect_damaged = [&](const std::string& content) {
      write_text(file, content);
      std::vector<std::string> lines;
      const auto found = newest_whole(folder(), lines);
      ASSERT_TRUE(found);
      EXPECT_EQ(found->step, 1);
      ASSERT_EQ(lines.size(), 1u);
      expect_has(lines[0], of_step(2).string());
      EXPECT_TRUE(content_of(file) == content);  // left as it is
    };
    for (std::size_t bytes = 0; bytes < whole.size(); bytes += 7) {
      expect_damaged(whole.substr(0, bytes));
    }
    for (std::size_t at = 0; at < whole.size(); at += 11) {
      std::string flipped = whole;
      flipped[at] = static_cast<char>(flipped[at] ^ 1 << at % 8);
      if (std::string(name) == "manifest.json") continue;  // below
      expect_damaged(flipped);
    }
    expect_damaged(whole + "x");
    fs::remove(file);
    EXPECT_EQ(newest(1), 1);
    fs::create_directory(file);
    EXPECT_EQ(newest(1), 1);
    fs::remove_all(of_step(2));
  }
}

TEST_F(CheckpointTest, AManifestIsReadWithCare) {
  write(3);
  const fs::path file = of_step(3) / "manifest.json";
  const std::string whole = content_of(file);
  const auto replaced = [&](const std::string& what, const std::string& with) {
    std::string text = whole;
    EXPECT_NE(text.find(what), std::string::npos) << what << " in " << whole;
    text.replace(std::min(text.find(what), text.size()), what.size(), with);
    write_text(file, text);
    try {
      check_whole(read_manifest(of_step(3)));
    } catch (const Error& error) {
      return error.message();
    }
    return std::string();
  };
  expect_has(replaced("checkpoint 1", "checkpoint 2"), "another version of Stagecoach");
  expect_has(replaced("\"step\": 3", "\"step\": 4"), "was the folder renamed?");
  expect_has(replaced("\"step\": 3", "\"step\": \"3\""), "\"step\" in");
  expect_has(replaced("\"run\"", "\"ran\""), "\"run\" in");
  expect_has(replaced("\"run\"", "\"step\""), "twice");
  expect_has(replaced("weights.safetensors", "../x.safetensors"), "names of files");
  expect_has(replaced("weights.safetensors", "nothing.safetensors"), "no such file");
  expect_has(replaced(whole, "[]"), "an object");
  expect_has(replaced(whole, "[[[["), "JSON");
  EXPECT_EQ(replaced("run", "run"), "");
}

TEST_F(CheckpointTest, OneOfTheSameStepMakesPlace) {
  write(4);
  write_text(of_step(4) / "weights.safetensors", "damaged");
  write(4);
  EXPECT_EQ(newest(), 4);
  EXPECT_EQ(entries(), 1u);
}

TEST_F(CheckpointTest, WhatIsNotFiniteIsNotWritten) {
  write(1);
  for (const float value :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_THROW(write_checkpoint(folder(), snapshot_of(2, value), "run", settings_, 1),
                 NumericError);
  }
  EXPECT_EQ(newest(), 1);
  EXPECT_EQ(entries(), 1u);
}

// Wherever a process is killed while it writes, what was whole stays so, and the next one cleans
// up.
TEST_F(CheckpointTest, AKilledWriterCostsNothing) {
  write(1);
  for (int round = 0; round < 20; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (int step = 2;; ++step) write(step, "run", 2);
    }
    ::usleep(static_cast<useconds_t>(1000 + 2500 * round));
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    check_checkpoint_folder(folder(), 100);
    EXPECT_GE(newest(), 1);
    EXPECT_LE(entries(), 3u);  // two, and the one that the killed one would have removed
    for (const auto& entry : fs::directory_iterator(folder())) {
      EXPECT_TRUE(entry.path().filename().string().starts_with("step-")) << entry.path();
    }
  }
}

TEST_F(CheckpointTest, PlacesThatCannotBe) {
  write_text(scratch_.path() / "file", "x");
  EXPECT_THROW(check_checkpoint_folder(scratch_.path() / "file", 1), Error);
  EXPECT_THROW(check_checkpoint_folder(scratch_.path() / "file" / "below", 1), Error);
  EXPECT_THROW(check_checkpoint_folder(folder(), std::int64_t{1} << 60), Error);
  fs::remove(folder());
  EXPECT_THROW(write(1), Error);
}

TEST(CheckpointSettings, DifferencesAreNamed) {
  const Settings one = {{"seed", 1}, {"batch", 64}};
  EXPECT_EQ(differences(one, one), "");
  EXPECT_EQ(differences(one, {{"batch", 64}, {"seed", 1}}), "");
  EXPECT_EQ(differences(one, {{"seed", 2}, {"batch", 64}}), "seed 2 instead of 1");
  EXPECT_EQ(differences(one, {{"seed", 2}, {"lr", 0.5}}),
            "seed 2 instead of 1, batch nothing instead of 64, lr 0.5 instead of nothing");
}

}  // namespace
}  // namespace stagecoach
