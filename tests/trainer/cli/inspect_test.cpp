#include "trainer/cli/inspect.h"

#include <gtest/gtest.h>

#include "tests/trainer/program_run.h"
#include "trainer/checkpoint.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;
using testing::expect_error;
using testing::expect_has;
using testing::ProgramResult;
using testing::run_program;
using testing::ScratchFolder;
using testing::write_text;

class Inspect : public ::testing::Test {
 protected:
  Inspect() {
    Snapshot snapshot;
    for (std::int64_t step : {1, 2}) {
      snapshot = Snapshot();
      snapshot.step = step;
      for (auto* tensors : {&snapshot.weights, &snapshot.optimizer}) {
        const Tensor& tensor = snapshot.memory.emplace_back(row_major({2, 3})).tensor;
        std::fill_n(tensor.as<float>(), 6, 1.0f);
        tensors->push_back(
            {tensors == &snapshot.weights ? "a.weight" : "a.weight.exp_avg", tensor});
      }
      write_checkpoint(scratch_.path(), snapshot, "0123", {{"seed", 3}, {"data", "synthetic"}}, 9);
    }
  }
  fs::path newest() const { return scratch_.path() / "step-00000002"; }

  const ScratchFolder scratch_;
};

TEST_F(Inspect, Weights) {
  const ProgramResult result = run_program({"inspect", newest() / "weights.safetensors"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  expect_has(result.out, "1 tensors, 24 bytes");
  expect_has(result.out, "checkpoint_step: 2");
  expect_has(result.out, "a.weight  F32   [2, 3]");
}

TEST_F(Inspect, ACheckpoint) {
  const ProgramResult result = run_program({"inspect", newest()});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  for (const char* part :
       {"checkpoint after step 2", "run 0123", "seed             3", "data             synthetic",
        "a.weight.exp_avg  F32   [2, 3]", "whole"}) {
    expect_has(result.out, part);
  }
}

TEST_F(Inspect, AFolderOfThem) {
  write_text(newest() / "optimizer.safetensors", "damaged");
  const ProgramResult result = run_program({"inspect", scratch_.path()});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out.find("step-00000002  not whole\nstep-00000001  whole, "), 0u) << result.out;
  expect_has(result.err, "optimizer.safetensors");
  EXPECT_EQ(run_program({"inspect", newest()}).exit_code, 1);
}

TEST_F(Inspect, WhatIsNone) {
  expect_error(run_program({"inspect", newest() / "none"}), 1, {"no such file"});
  expect_error(run_program({"inspect", newest() / "manifest.json"}), 1, {"safetensors file"});
  fs::create_directory(scratch_.path() / "empty");
  expect_error(run_program({"inspect", scratch_.path() / "empty"}), 1, {"without any"});
  expect_error(run_program({"inspect"}), 2, {"stagecoach inspect", "a file or folder"});
  expect_has(run_program({"inspect", "--help"}).out, "checkpoint");
}

}  // namespace
}  // namespace stagecoach
