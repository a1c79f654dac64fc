// A pipeline whose ranks are processes with a GPU each trains as the plain loop does on one GPU,
// bit for bit: on simulated GPUs, with a NCCL whose sends have no buffer.
#include <gtest/gtest.h>
#include <nccl.h>

#include <csignal>
#include <cstring>
#include <limits>

#include "comm/message.h"
#include "core/error.h"
#include "tests/forked/forked_world.h"
#include "tests/kernels/checks.h"
#include "tests/nccl/gpu_process_job.h"

namespace stagecoach {
namespace {

using testing::GpuCase;
using testing::GpuProcessJob;
using testing::options_of;
using testing::run_forked;
using testing::SmallBatch;

void expect_no_fault_of_nccl() {
  EXPECT_EQ(simulated::nccl_faults(), 0);
  EXPECT_EQ(simulated::communicators(), 0);
}

void expect_bits_of_the_plain_loop(World& world, const GpuCase& c) {
  testing::GpuOutcome expected = testing::plain_gpu_outcome(c);
  {
    GpuProcessJob<ProcessPipeline> job(options_of(c, &world));
    job.train(testing::kGpuSteps);
    job.evaluate();
    job.note_weights();
    if (world.rank() != 0) job.outcome.weights = expected.weights;
    EXPECT_EQ(job.outcome.losses, expected.losses) << c.text() << ", process " << world.rank();
    EXPECT_EQ(job.outcome.norms, expected.norms) << c.text() << ", process " << world.rank();
    EXPECT_TRUE(job.outcome == expected) << c.text() << ", process " << world.rank();
    for (const StageSummary& stage : job.loop.summaries()) {
      EXPECT_EQ(stage.planned_bytes, stage.peak_bytes) << c.text();
    }
    EXPECT_EQ(job.loop.max_in_flight(), c.eager ? 1 : 2);
  }
  expect_no_fault_of_nccl();
}

std::vector<int> all_pass(int processes) {
  return std::vector<int>(static_cast<std::size_t>(processes), 0);
}

// Each schedule launch by launch and by graphs.
void expect_bits_of_each(const std::vector<GpuCase>& cases, int processes) {
  EXPECT_EQ(run_forked(processes,
                       [&](World& world) {
                         for (GpuCase c : cases) {
                           for (const bool eager : {true, false}) {
                             c.eager = eager;
                             expect_bits_of_the_plain_loop(world, c);
                           }
                         }
                       }),
            all_pass(processes));
}

TEST(ProcessPipelineNccl, SameBitsForTwoProcesses) {
  std::vector<GpuCase> cases;
  for (const char* schedule : {"naive", "gpipe", "1f1b", "zb-h1"}) cases.push_back({schedule, {6}});
  cases.push_back({"naive", {}, 2});
  expect_bits_of_each(cases, 2);
}

TEST(ProcessPipelineNccl, SameBitsForFourProcesses) {
  std::vector<GpuCase> cases;
  for (const char* schedule : {"gpipe", "1f1b", "zb-h1"}) {
    cases.push_back({schedule, {2, 5, 9}});
    cases.push_back({schedule, {6}, 2});
  }
  cases.push_back({"naive", {}, 4});
  expect_bits_of_each(cases, 4);
}

TEST(ProcessPipelineNccl, SameBitsForThreeStages) {
  expect_bits_of_each({{"gpipe", {4, 8}}, {"1f1b", {4, 8}}, {"zb-h1", {4, 8}}}, 3);
  expect_bits_of_each({{"1f1b", {4, 8}, 2}}, 6);
}

TEST(ProcessPipelineNccl, SameBitsForEightProcesses) {
  expect_bits_of_each({{"1f1b", {2, 5, 9}, 2}}, 8);
}

TEST(ProcessPipelineNccl, SameBitsWithSeveralStagesOnARank) {
  expect_bits_of_each({{"interleaved", {2, 5, 9}, 1, 2}, {"zb-v", {2, 5, 9}, 1, 2}}, 2);
}

TEST(ProcessPipelineNccl, SameBitsWithRecomputationAdamAndBf16) {
  GpuCase c{"1f1b", {6}, 2};
  c.recompute = Recompute::kAlways;
  c.optimizer = testing::small_adam();
  GpuCase bf16{"1f1b", {6}, 2};
  bf16.precision = Precision::kBf16;
  expect_bits_of_each({c, bf16}, 4);
}

TEST(ProcessPipelineNccl, SameBitsHoweverTheUpdateIsShared) {
  std::vector<GpuCase> cases;
  for (const auto& [shards, overlaps] : {std::pair{true, false}, {false, true}, {true, true}}) {
    GpuCase c{"1f1b", {6}, 2};
    c.shards_optimizer = shards;
    c.overlaps_sum = overlaps;
    cases.push_back(c);
    c.precision = Precision::kBf16;
    cases.push_back(c);
  }
  expect_bits_of_each(cases, 4);
}

TEST(ProcessPipelineNccl, SameBitsWhereTheOptimizerRunsBesideW) {
  const auto beside = [](std::vector<GpuCase> cases) {
    for (GpuCase& c : cases) c.overlaps_sum = true;
    return cases;
  };
  expect_bits_of_each(
      beside({{"1f1b", {6}}, {"zb-h1", {6}}, {"naive", {}, 2}, {"zb-v", {2, 5, 9}, 1, 2}}), 2);
  expect_bits_of_each(beside({{"1f1b", {2, 5, 9}}, {"naive", {}, 4}}), 4);
}

constexpr double kClipNorm = 0.05;  // below the norm of each step

GpuCase clipped(GpuCase c) {
  c.clip_norm = kClipNorm;
  return c;
}

TEST(ProcessPipelineNccl, SameBitsWhenGradientsAreClipped) {
  const auto norm_of = [](World&) {
    for (const double norm : testing::plain_gpu_outcome(clipped({})).norms) {
      EXPECT_GT(norm, kClipNorm);
    }
  };
  EXPECT_EQ(run_forked(1, norm_of), all_pass(1));
  expect_bits_of_each({clipped({"naive", {}})}, 1);
  GpuCase zero = clipped({"naive", {}, 2});
  zero.shards_optimizer = zero.overlaps_sum = true;
  expect_bits_of_each(
      {clipped({"naive", {}, 2}), zero, clipped({"gpipe", {6}}), clipped({"zb-v", {2, 5, 9}, 1, 2}),
       clipped({"interleaved", {2, 5, 9}, 1, 2}), clipped({"dualpipe-v", {2, 5, 9}, 1, 2})},
      2);
}

// A rank of ZB-H1's has no parameters.
TEST(ProcessPipelineNccl, SameBitsWhenGradientsAreClippedByFourAndEightProcesses) {
  GpuCase zero = clipped({"1f1b", {6}, 2});
  zero.shards_optimizer = zero.overlaps_sum = true;
  zero.optimizer = testing::small_adam();
  expect_bits_of_each({clipped({"1f1b", {6}, 2}), zero, clipped({"zb-h1", {4, 6, 8}}),
                       clipped({"zb-v", {1, 2, 4, 5, 8, 9, 11}, 1, 2})},
                      4);
  expect_bits_of_each({clipped({"1f1b", {2, 5, 9}, 2})}, 8);
}

std::vector<float> floats_of(const testing::Bytes& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// Of this process.
ByteVector own_weights(const GpuProcessJob<ProcessPipeline>& job) {
  MessageWriter writer;
  for (const auto& stage : job.loop.stages()) {
    for (const Stage::Parameter& parameter : stage->parameters()) {
      writer.put(testing::bytes_of(to_host(stage->context().stream(), parameter.value).tensor));
    }
  }
  return writer.bytes();
}

// The bits are NCCL's, but all replicas have the same ones.
void expect_what_the_tree_comes_to(World& world, GpuCase c) {
  c.unordered_sum = true;
  const testing::GpuOutcome expected = testing::plain_gpu_outcome(c);
  {
    GpuProcessJob<ProcessPipeline> job(options_of(c, &world));
    job.train(testing::kGpuSteps);
    for (std::size_t step = 0; step < testing::kGpuSteps; ++step) {
      const std::vector<float> losses = floats_of(job.outcome.losses.at(step));
      const std::vector<float> of_tree = floats_of(expected.losses.at(step));
      for (std::size_t i = 0; i < losses.size(); ++i) {
        EXPECT_NEAR(losses[i], of_tree[i], 1e-4) << "step " << step << ", sample " << i;
      }
      EXPECT_NEAR(job.outcome.norms.at(step), expected.norms.at(step), 1e-4);
    }
    const std::vector<ByteVector> weights = all_gather(world, own_weights(job));
    for (std::size_t process = 0; process < weights.size(); ++process) {
      const std::size_t first = process / c.replicas * c.replicas;
      EXPECT_GT(weights[process].size(), 100U);
      EXPECT_TRUE(weights[process] == weights[first]) << "process " << process;
    }
  }
  expect_no_fault_of_nccl();
}

TEST(ProcessPipelineNccl, NcclAddsGradientsInItsOwnOrder) {
  const auto body = [](World& world) {
    expect_what_the_tree_comes_to(world, {"naive", {}, 4});
    GpuCase c = clipped({"1f1b", {6}, 2});
    c.overlaps_sum = true;
    expect_what_the_tree_comes_to(world, c);
    c.eager = true;
    expect_what_the_tree_comes_to(world, c);
  };
  EXPECT_EQ(run_forked(4, body), all_pass(4));
}

// All processes throw the same, no weight of any changes, and what was launched behind it is gone.
void expect_no_change_by_a_loss_that_is_not_finite(const GpuCase& base) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "a message takes the flag along while a later loss may raise it: one word, which "
                  "only has to be right behind the last loss";
#endif
  // Whichever way parameters are updated, in both replicas of both stages.
  const auto expect = [&](World& world, bool shards, bool overlaps) {
    GpuCase c = base;
    c.shards_optimizer = shards;
    c.overlaps_sum = overlaps;
    GpuProcessJob<ProcessPipeline> job(options_of(c, &world));
    job.train(4);
    job.note_weights();
    const auto before = job.outcome.weights;
    SmallBatch bad(GpuCase::kMicroBatches, 3);
    const std::int64_t image = bad.images.tensor.elements() / (GpuCase::kMicroBatches * 3);
    bad.images.tensor.as<float>()[16 * image] = std::numeric_limits<float>::infinity();
    job.launch(4, bad);
    job.launch(5, SmallBatch(GpuCase::kMicroBatches, 5));
    testing::expect_error([&] { job.loop.finish(); },
                          {"training step 5: expected a finite loss", "sample 1 of micro-batch 5"});
    job.outcome.weights.clear();
    job.note_weights();
    EXPECT_TRUE(job.outcome.weights == before) << "process " << world.rank();
    const auto found =
        job.loop.first_nonfinite(job.batches.input(4, nullptr, bad), GpuCase::kMicroBatches);
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->layer, 0);
    EXPECT_EQ(found->micro_batch, 5);
    job.outcome.weights.clear();
    job.train(2);
    job.note_weights();
    EXPECT_FALSE(world.rank() == 0 && job.outcome.weights == before);
  };
  const auto body = [&](World& world) {
    for (const bool overlaps : {false, true}) {
      expect(world, false, overlaps);
      if (!base.unordered_sum) expect(world, true, overlaps);
    }
  };
  EXPECT_EQ(run_forked(4, body), all_pass(4));
}

TEST(ProcessPipelineNccl, ALossThatIsNotFiniteChangesNoWeightOfAny) {
  expect_no_change_by_a_loss_that_is_not_finite({"1f1b", {6}, 2});
}
TEST(ProcessPipelineNccl, ALossThatIsNotFiniteChangesNoWeightThroughAClippedUnorderedSum) {
  GpuCase c = clipped({"1f1b", {6}, 2});
  c.unordered_sum = true;
  expect_no_change_by_a_loss_that_is_not_finite(c);
}

// The kernels of the others wait for it for ever; their hosts do not.
void expect_others_end(bool eager) {
  const auto body = [eager](World& world) {
    GpuCase c{"1f1b", {2, 5, 9}};
    c.eager = eager;
    GpuProcessJob<ProcessPipeline> job(options_of(c, &world));
    job.train(4);
    if (world.rank() == 2) ::raise(SIGKILL);
    testing::expect_error([&] { job.train(3); }, {"process 2"});
    EXPECT_FALSE(job.loop.stages_agree());
    throw PeerError("process 2", "it to be there", "its end");
  };
  EXPECT_EQ(run_forked(4, body), (std::vector<int>{1, 1, 128 + SIGKILL, 1}));
}

TEST(ProcessPipelineNccl, AKilledProcessEndsTheOthers) {
  expect_others_end(true);
}
TEST(ProcessPipelineNccl, AKilledProcessEndsTheGraphsOfTheOthers) {
  expect_others_end(false);
}

// It is the first stage's, whose W comes last: the others wait for its part of the norm.
void expect_others_end_in_the_norm(bool eager) {
  const auto body = [eager](World& world) {
    GpuCase c = clipped({"1f1b", {2, 5, 9}});
    c.eager = eager;
    int weights = 0;
    const auto hook = [&](Context&, ActionKind kind, std::int64_t) {
      if (world.rank() != 0 || kind != ActionKind::kBackwardWeight) return;
      if (++weights == 3 * GpuCase::kMicroBatches) ::raise(SIGKILL);
    };
    {
      GpuProcessJob<ProcessPipeline> job(options_of(c, &world), testing::hooked_network(0, hook));
      testing::expect_error([&] { job.train(3); }, {"process 0"});
      EXPECT_FALSE(job.loop.stages_agree());
    }
    testing::end_process(::testing::Test::HasFailure() ? 1 : 3);
  };
  EXPECT_EQ(run_forked(4, body), (std::vector<int>{128 + SIGKILL, 3, 3, 3}));
}

TEST(ProcessPipelineNccl, AProcessThatIsKilledBeforeItsPartOfTheNormEndsTheOthers) {
  expect_others_end_in_the_norm(true);
}
TEST(ProcessPipelineNccl, AProcessThatIsKilledBeforeItsPartOfTheNormEndsTheGraphsOfTheOthers) {
  expect_others_end_in_the_norm(false);
}

TEST(ProcessPipelineNccl, RefusesSharesOfWhatNcclAddsUp) {
  const auto body = [](World& world) {
    GpuCase c{"naive", {}, 2};
    c.unordered_sum = c.shards_optimizer = true;
    testing::expect_error([&] { GpuProcessJob<ProcessPipeline> job(options_of(c, &world)); },
                          {"each with all states, for an unordered sum, got shares"});
  };
  EXPECT_EQ(run_forked(2, body), all_pass(2));
}

}  // namespace
}  // namespace stagecoach
