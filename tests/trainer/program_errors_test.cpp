// The program, asked for what cannot be: one message that helps, exit code 2 for usage and 1 for
// the rest, and nothing written.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/safetensors.h"
#include "tests/trainer/engine_run.h"
#include "tests/trainer/program_run.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;
using testing::content_of;
using testing::expect_error;
using testing::expect_has;
using testing::files_in;
using testing::Options;
using testing::ProgramResult;
using testing::run_program;
using testing::run_train;
using testing::ScratchFolder;
using testing::write_text;

class ProgramErrors : public ::testing::Test {
 protected:
  std::string file(const std::string& name) const { return folder_.path() / name; }

  // `options` fail and leave the folder as it was, with the files of an old run in it.
  void expect_failure(Options options, int exit_code, const std::vector<std::string>& parts) {
    const std::map<std::string, std::string> outputs = {{"--save", "old.safetensors"},
                                                        {"--metrics", "old.jsonl"},
                                                        {"--report", "old.json"},
                                                        {"--trace", "old-trace.json"},
                                                        {"--svg", "old.svg"}};
    for (const auto& [option, name] : outputs) {
      write_text(file(name), "what an old run wrote to " + name);
      options.try_emplace(option, file(name));
    }
    const auto before = files_in(folder_.path());
    expect_error(run_train(options), exit_code, parts);
    EXPECT_TRUE(files_in(folder_.path()) == before) << "the folder was changed";
  }

  const ScratchFolder folder_;
};

struct Wrong {
  Options options;
  std::vector<std::string> parts;  // of the message
};

TEST_F(ProgramErrors, TablesThatCannotRunAreExplained) {
  const auto table = [this](const std::string& text) {
    write_text(file("table.txt"), text);
    return Options{{"--schedule", file("table.txt")}, {"--stages", "2"}, {"--micro-batches", "1"}};
  };
  expect_failure(table("0F0 0BW0\n1F0 1BW0 1F0\n"), 1,
                 {"every action once", "line 2, rank 1, position 2: 1F0 a second time"});
  expect_failure(table("0F0 0SEND_F0 0RECV_B0 0BW0\n1F0 1BW0 1SEND_B0\n"), 1,
                 {"expected 1RECV_F0 before 1F0", "line 2, rank 1, position 0: 1F0"});
  expect_failure(table("0F0 0BW0\n1BW0 1F0\n"), 1, {"line 2, rank 1, position 0: 1BW0"});
  expect_failure(table("0F0 0XY0\n1F0 1BW0\n"), 1, {"line 1", "0XY0"});
  expect_failure(table("999999999F0 0BW0\n"), 1, {"line 1", "999999999F0"});
  expect_failure({{"--schedule", file("none.txt")}, {"--stages", "2"}}, 1, {"none.txt"});
}

TEST_F(ProgramErrors, WrongUsageIsExplained) {
  const std::vector<Wrong> cases = {
      {{{"--stagse", "3"}}, {"'--stagse'", "did you mean '--stages'?"}},
      {{{"--stages", "23"}}, {"--stages of at most 22, the layers of alexnet", "got 23"}},
      {{{"--schedule", "interleaved"}, {"--stages", "65536"}, {"--chunks", "32768"}},
       {"--stages times 32768 of at most 22, the layers of alexnet", "got 65536"}},
      {{{"--schedule", "interleaved"}, {"--stages", "65536"}, {"--chunks", "65536"}},
       {"--stages times 65536 of at most 22, the layers of alexnet", "got 65536"}},
      {{{"--eager", ""}}, {"--eager on a GPU", "got --device cpu"}},
      {{{"--tune", ""}}, {"--tune on a GPU", "got --device cpu"}},
      {{{"--fast-nondeterministic", ""}}, {"--fast-nondeterministic on a GPU", "got --device cpu"}},
      {{{"--fast-nondeterministic", ""}, {"--replicas", "2"}},
       {"or over replicas in processes", "got replicas on threads"}},
      {{{"--stages", "-1"}}, {"--stages of at least 0", "got -1"}},
      {{{"--stages", "two"}}, {"a whole number after --stages", "'two'"}},
      {{{"--stages", "2.5"}}, {"a whole number after --stages", "'2.5'"}},
      {{{"--micro-batches", "0"}}, {"--micro-batches of at least 1", "got 0"}},
      {{{"--micro-batch-size", "0"}}, {"--micro-batch-size of at least 1", "got 0"}},
      {{{"--steps", "99999999999999999999"}}, {"a smaller number after --steps"}},
      {{{"--lr", "fast"}}, {"a number after --lr", "'fast'"}},
      {{{"--lr", "-1"}}, {"--lr above 0", "got -1"}},
      {{{"--image-size", "62"}}, {"--image-size of at least 63", "62"}},
      {{{"--schedule", "1fb1"}},
       {"naive, gpipe, 1f1b, interleaved, zb-h1, zb-v or dualpipe-v", "did you mean '1f1b'?"}},
      {{{"--partition", "22"}}, {"from 1 to 21", "'22'"}},
      {{{"--partition", "0"}}, {"from 1 to 21", "'0'"}},
      {{{"--partition", "5,3"}, {"--stages", "3"}}, {"2 ascending numbers", "'5,3'"}},
      {{{"--partition", "3,10"}}, {"--stages 2", "makes 3 stages"}},
      {{{"--data-dir", "somewhere"}}, {"--data-dir", "--data synthetic"}},
      {{{"--epochs", "1"}}, {"--steps or --epochs"}},
      {{{"--steps", ""}}, {"a whole number after --steps", "'--svg'"}}};  // the next option
  for (const Wrong& wrong : cases) {
    SCOPED_TRACE(wrong.options.begin()->first + " " + wrong.options.begin()->second);
    expect_failure(wrong.options, 2, wrong.parts);
  }
  expect_error(run_program({"trian"}), 2, {"'trian'", "did you mean 'train'?"});
  expect_error(run_program({"--stages", "2"}), 2, {"behind the word train"});
  expect_error(run_program({"train", "extra"}), 2, {"'extra'"});
  expect_error(run_program({"train", "-s", "1", "-s", "2"}), 2,
               {"--steps with one value, got sev"});
  expect_error(run_program({"train", "--lr"}), 2, {"--lr with one value, got none"});
  expect_error(run_program({"train", "--stages", ""}), 2,
               {"a whole number after --stages, got ''"});
}

// With the default --data auto, what is wrong must not be said after a download.
TEST_F(ProgramErrors, NothingIsDownloadedForWhatCannotBe) {
  for (const Options& wrong : {Options{{"--stages", "23"}}, Options{{"--partition", "22"}},
                               Options{{"--save", "/none/a"}}, Options{{"--init", "/none/a"}}}) {
    Options options = wrong;
    options["--data"] = "auto";
    const ProgramResult result = run_train(options);
    EXPECT_NE(result.exit_code, 0);
    EXPECT_EQ(result.err.rfind("stagecoach: error:", 0), 0u) << result.err;  // no warning before it
  }
}

TEST_F(ProgramErrors, FoldersWithoutGoodData) {
  const fs::path data = folder_.path() / "data";
  const Options options = {{"--data", "auto"}, {"--data-dir", data}};
  expect_failure(options, 1, {data.string(), "--data-dir", "no such folder"});
  fs::create_directory(data);
  expect_failure(options, 1, {data.string(), "none of its files", "data_batch_1.bin"});

  write_text(data / "data_batch_1.bin", "short");
  expect_failure(options, 1, {"data_batch_1.bin", "30730000 bytes", "got 5 bytes"});

  fs::resize_file(data / "data_batch_1.bin", 30'730'000);  // begins with an 's'
  expect_failure(options, 1, {"data_batch_1.bin", "a label from 0 to 9", "record 0", "label 115"});

  write_text(data / "data_batch_1.bin", "");
  fs::resize_file(data / "data_batch_1.bin", 30'730'000);
  expect_failure(options, 1, {"test_batch.bin", "no such file"});
}

TEST_F(ProgramErrors, Cifar10ThatCannotBeHadIsNotReplaced) {
  expect_failure({{"--data", "cifar10"}}, 1, {"no connection", "--data-dir", "--data synthetic"});
}

TEST_F(ProgramErrors, InitialWeightsThatCannotBeRead) {
  expect_failure({{"--init", file("none")}}, 1, {file("none"), "no such file"});
  expect_failure({{"--init", folder_.path()}}, 1, {folder_.path(), "the folder"});
  write_text(file("text"), "these are no weights, but a text of some length");
  expect_failure({{"--init", file("text")}}, 1, {file("text"), "is it a safetensors file"});

  OwnedTensor tensor(row_major({10}));
  write_safetensors(file("other"), {{"classifier.6.bias", tensor.tensor}}, {});
  expect_failure({{"--init", file("other")}}, 1, {file("other"), "'features.0.weight'"});
  fs::resize_file(file("other"), fs::file_size(file("other")) - 4);
  expect_failure({{"--init", file("other")}}, 1, {file("other"), "cut off"});
}

TEST_F(ProgramErrors, PlacesThatCannotBeWritten) {
  write_text(file("plain"), "a file, not a folder");
  for (const char* option : {"--save", "--report", "--metrics", "--trace", "--svg"}) {
    SCOPED_TRACE(option);
    expect_failure({{option, file("none/x")}}, 1, {"no folder '" + file("none") + "'"});
    expect_failure({{option, file("plain/x")}}, 1, {"'" + file("plain") + "'"});
    expect_failure({{option, folder_.path()}}, 1, {"the folder '" + folder_.path().string()});
  }
  expect_failure({{"--report", file("same")}, {"--trace", file("same")}}, 2,
                 {"different files for --report and --trace"});
}

TEST_F(ProgramErrors, TooFewImagesForABatch) {
  expect_failure({{"--max-train-samples", "3"}}, 1,
                 {"at least one batch of 4 training images", "--micro-batch-size", "got 3"});
}

// With a GPU or without one, with CUDA in the build or not.
TEST_F(ProgramErrors, AGpuThatIsNotThereIsNamed) {
  expect_error(run_train({{"--device", "cuda:4095"}}), 2, {"--device", "cuda:4095"});
  expect_error(run_train({{"--device", "gpu"}}), 2, {"auto, cpu, cuda", "'gpu'"});
  expect_error(run_train({{"--precision", "bf16"}}), 2, {"--precision fp32 on the CPU", "bf16"});
}

TEST_F(ProgramErrors, WhatDoesNotFitIntoMemoryIsRefusedAtOnce) {
  const Options huge = {{"--micro-batch-size", "8192"},
                        {"--micro-batches", "1"},
                        {"--image-size", "4096"},
                        {"--max-train-samples", "8192"},
                        {"--partition", "time"}};
  expect_failure(huge, 1, {"memory: expected at most", "GiB", "smaller or fewer micro-batches"});
  expect_failure({{"--max-train-samples", "2000000000"}}, 1,
                 {"GiB of images", "--max-train-samples"});
}

// AlexNet's weights, drawn from `seed`, with one NaN in features.3.bias.
void write_weights_with_nan(const fs::path& file) {
  TrainRequest config;
  config.device = DeviceRequest::cpu();
  config.stages = 0;
  config.image_size = 64;
  config.micro_batch_size = 1;
  config.micro_batches = 1;
  testing::EngineRun(make_alexnet(), config).engine.save(file);
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  std::uint64_t length = 0;
  stream.read(reinterpret_cast<char*>(&length), sizeof length);
  std::string header(length, '\0');
  stream.read(header.data(), static_cast<std::streamsize>(length));
  const auto offset =
      nlohmann::json::parse(header)["features.3.bias"]["data_offsets"][0].get<std::uint64_t>();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  stream.seekp(static_cast<std::streamoff>(sizeof length + length + offset));
  stream.write(reinterpret_cast<const char*>(&nan), sizeof nan);
}

TEST_F(ProgramErrors, NanStopsTheRunAndIsNamed) {
  const ScratchFolder elsewhere;  // the file is large
  const fs::path weights = elsewhere.path() / "nan.safetensors";
  write_weights_with_nan(weights);
  for (const char* stages : {"0", "2", "4"}) {
    SCOPED_TRACE(stages);
    expect_failure({{"--init", weights}, {"--stages", stages}}, 1,
                   {"training step 1", "features.3 Conv2d", "and in features.3.bias"});
  }
}

}  // namespace
}  // namespace stagecoach
