// The program where it finds GPUs.
#include <gtest/gtest.h>

#include "tests/trainer/program_run.h"

namespace stagecoach {
namespace {

using testing::expect_error;
using testing::expect_has;
using testing::expect_lacks;
using testing::ProgramResult;
using testing::run_program;
using testing::run_train;

TEST(SimulatedProgram, InfoListsTheGpus) {
  const ProgramResult result = run_program({"info"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  expect_has(result.out, "cuda:0: Simulated GPU, compute capability 9.0");
  expect_has(result.out, "cuda:1: Simulated GPU");
  expect_has(result.out, "peer access: every GPU reaches the others' memory");
  expect_has(result.out, "driver for CUDA 13.0, runtime 13.0");
  for (const char* library : {"cuDNN", "cuBLASLt", "NCCL"}) expect_has(result.out, library);
}

TEST(SimulatedProgram, TrainsOnTheGpusUnlessToldOtherwise) {
  const ProgramResult on_gpus = run_train({{"--steps", "3"}, {"--device", "no"}});
  EXPECT_EQ(on_gpus.exit_code, 0) << on_gpus.err;
  expect_has(on_gpus.out, "on cuda:0,1 (Simulated GPU), bf16");
  expect_has(on_gpus.out, "a captured graph launched for each step");
  expect_has(on_gpus.out, ": equal");  // memory: planned and measured
  const ProgramResult on_cpu = run_train({{"--steps", "1"}, {"--device", "cpu"}});
  EXPECT_EQ(on_cpu.exit_code, 0) << on_cpu.err;
  expect_has(on_cpu.out, "on cpu\n");
  expect_lacks(on_cpu.out, "cuda");
}

// In two processes, which have a watch of each other: tests of the library's do without.
class SimulatedProcesses : public ::testing::Test {
 protected:
  void SetUp() override {
    if (kLauncher.empty()) GTEST_SKIP() << "this build has no plug-in for Open MPI";
  }
  static ProgramResult train_two(const testing::Options& options) {
    std::vector<std::string> words = {"/usr/bin/timeout", "100", kLauncher, "--allow-run-as-root",
                                      "--oversubscribe",  "-np", "2",       STAGECOACH_BINARY};
    const auto arguments = testing::train_arguments(options);
    words.insert(words.end(), arguments.begin(), arguments.end());
    return testing::run_command(words);
  }

  static inline const std::string kLauncher = STAGECOACH_MPIEXEC_OPENMPI;
};

TEST_F(SimulatedProcesses, TrainAndClipAsOneDoes) {
  const testing::ScratchFolder folder;
  const std::string one = folder.path() / "one", two = folder.path() / "two";
  const auto options = [](const char* stages, const std::string& file) {
    return testing::Options{{"--steps", "4"},
                            {"--device", "cuda"},
                            {"--clip-grad-norm", "0.5"},
                            {"--stages", stages},
                            {"--save", file}};
  };
  const ProgramResult alone = run_train(options("0", one));
  EXPECT_EQ(alone.exit_code, 0) << alone.err;
  const ProgramResult result = train_two(options("2", two));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  expect_has(result.out, "a captured graph launched for each step");
  EXPECT_EQ(testing::content_of(one), testing::content_of(two));
}

TEST_F(SimulatedProcesses, AddGradientsByNcclWhenAskedTo) {
  const testing::Options options = {
      {"--device", "cuda"}, {"--stages", "1"}, {"--fast-nondeterministic", ""}, {"--quiet", "no"}};
  const ProgramResult result = train_two(options);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  expect_has(result.out, "sum of gradients over 2 replicas, by NCCL: ");
  expect_has(result.err, "no checksum promises");
  testing::Options shared = options;
  shared.insert({"--zero", "1"});
  const ProgramResult refused = train_two(shared);
  EXPECT_EQ(refused.exit_code, 2) << refused.err;
  expect_has(refused.err, "expected --fast-nondeterministic without --zero, got both");
}

TEST(SimulatedProgram, EvaluatesAndWritesItsFilesOnAGpu) {
  const testing::ScratchFolder folder;
  const auto in = [&](const char* name) { return (folder.path() / name).string(); };
  const ProgramResult result = run_train({{"--device", "cuda:1"},
                                          {"--precision", "fp32"},
                                          {"--eager", ""},
                                          {"--eval-every", "2"},
                                          {"--save", in("w.safetensors")},
                                          {"--report", in("r.json")},
                                          {"--svg", in("t.svg")}});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  expect_has(result.out, "on cuda:1 (Simulated GPU), fp32");
  expect_has(result.out, "kernels launched one by one");
  expect_has(result.out, "on 9 test images");
  expect_has(testing::content_of(in("r.json")), R"("launch": "eager")");
  expect_has(testing::content_of(in("r.json")), R"("precision": "fp32")");
  EXPECT_GT(testing::content_of(in("t.svg")).size(), 1000u);
  EXPECT_GT(testing::content_of(in("w.safetensors")).size(), 1000u);
}

TEST(SimulatedProgram, RefusesWhatIsNotThere) {
  expect_error(run_train({{"--device", "cuda:7"}}), 2, {"GPUs from 0 to 1", "cuda:7"});
  expect_error(run_train({{"--device", "gpu"}}), 2, {"--device auto, cpu, cuda", "'gpu'"});
  expect_error(run_train({{"--device", "auto"}, {"--precision", "fp16"}}), 2,
               {"--precision", "'fp16'"});
  expect_error(run_train({{"--device", "cpu"}, {"--precision", "bf16"}}), 2,
               {"--precision fp32 on the CPU", "bf16"});
}

}  // namespace
}  // namespace stagecoach
