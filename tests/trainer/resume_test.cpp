// A training that stops and goes on is the training that never stopped, byte for byte: from any
// layout to any other.
#include "trainer/resume.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "pipeline/state_dict.h"
#include "tests/trainer/resume_fixture.h"
#include "trainer/train.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::content_of;
using testing::expect_has;
using testing::ScratchFolder;
using testing::write_text;

using testing::kBatch;
using testing::Layout;
using testing::ResumeTest;

const std::vector<Layout> kLayouts = {
    {0, "1f1b", 1},
    {0, "1f1b", 8, "", Recompute::kNever, 2},
    {1, "gpipe", 4},
    {2, "1f1b", 4, "3"},
    {2, "zb-h1", 8, "5", Recompute::kNever, 2},
    {2, "zb-v", 4},
    {2, "interleaved", 4, "", Recompute::kAlways},
    {3, "naive", 2},
    {3, "gpipe", 8, "", Recompute::kExceptLast},
    {4, "1f1b", 8},
    {2, "dualpipe-v", 4},
};

class ResumePairs : public ResumeTest, public ::testing::WithParamInterface<OptimizerKind> {};

TEST_P(ResumePairs, AnyLayoutGoesOnFromAnyOther) {
  optimizer_ = GetParam();
  const fs::path never = scratch_.path() / "never";
  expect_ends_well(request(kLayouts[3], 5, never));
  const std::string expected = weights_of(never, 5);
  ASSERT_GT(expected.size(), 10'000u);
  for (std::size_t from = 0; from < kLayouts.size(); ++from) {
    const fs::path begun = scratch_.path() / fmt::format("from{}", from);
    expect_ends_well(request(kLayouts[from], 2, begun));
    for (std::size_t to = 0; to < kLayouts.size(); ++to) {
      SCOPED_TRACE(fmt::format("from {} to {}", from, to));
      const fs::path gone_on = scratch_.path() / "gone_on";
      fs::copy(begun, gone_on, fs::copy_options::recursive);
      expect_ends_well(request(kLayouts[to], 5, gone_on));
      EXPECT_TRUE(weights_of(gone_on, 5) == expected);
      fs::remove_all(gone_on);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Optimizers, ResumePairs,
                         ::testing::Values(OptimizerKind::kSgd, OptimizerKind::kAdam),
                         [](const auto& test) {
                           return test.param == OptimizerKind::kSgd ? "sgd" : "adam";
                         });

TEST_F(ResumeTest, GoesOnWithAnotherNumberOfReplicas) {
  groups_ = 4;
  const std::vector<Layout> layouts = {{0, "1f1b", 8},
                                       {2, "1f1b", 2, "5", Recompute::kNever, 1, 2, 1, true},
                                       {2, "zb-h1", 4, "3", Recompute::kNever, 1, 2},
                                       {1, "gpipe", 2, "", Recompute::kNever, 1, 4}};
  const fs::path never = scratch_.path() / "never";
  expect_ends_well(request(layouts[0], 5, never));
  const std::string expected = weights_of(never, 5);
  for (std::size_t from = 0; from < layouts.size(); ++from) {
    for (std::size_t to = 0; to < layouts.size(); ++to) {
      SCOPED_TRACE(fmt::format("from {} to {}", from, to));
      const fs::path folder = scratch_.path() / fmt::format("{}_{}", from, to);
      expect_ends_well(request(layouts[from], 2, folder));
      expect_ends_well(request(layouts[to], 5, folder));
      EXPECT_TRUE(weights_of(folder, 5) == expected);
    }
  }
}

TEST_F(ResumeTest, ARecipeGoesOnInTheMiddleOfItself) {
  recipe_ = true;
  const fs::path never = scratch_.path() / "never";
  expect_ends_well(request(kLayouts[3], 6, never));
  const std::string expected = weights_of(never, 6);
  for (std::size_t i = 0; i < kLayouts.size(); ++i) {
    for (const std::int64_t stop : {1, 3, 4}) {  // step 4 has the smaller batch
      SCOPED_TRACE(fmt::format("layout {}, stopped after step {}", i, stop));
      const fs::path folder = scratch_.path() / fmt::format("{}_{}", i, stop);
      expect_ends_well(request(kLayouts[i], stop, folder));
      expect_ends_well(request(kLayouts[(i + 1) % kLayouts.size()], 6, folder));
      EXPECT_TRUE(weights_of(folder, 6) == expected);
    }
  }
}

TEST_F(ResumeTest, AfterEveryStepAndAgain) {
  const fs::path never = scratch_.path() / "never", often = scratch_.path() / "often";
  expect_ends_well(request(kLayouts[4], 7, never));
  for (std::int64_t steps = 1; steps <= 7; ++steps) {
    expect_ends_well(request(kLayouts[static_cast<std::size_t>(steps)], steps, often));
  }
  EXPECT_TRUE(weights_of(often, 7) == weights_of(never, 7));
  EXPECT_EQ(checkpoints_in(often).size(), 3u);  // the newest
}

TEST_F(ResumeTest, TheReportAndTheMetricsGoOn) {
  const fs::path folder = scratch_.path() / "folder", metrics = scratch_.path() / "metrics";
  TrainRequest first = request(kLayouts[3], 3, folder);
  first.metrics = metrics;
  expect_ends_well(first);
  std::ofstream(metrics, std::ios::app) << "{\"step\":4,\"lo";  // it was killed then
  TrainRequest second = request(kLayouts[2], 5, folder);
  second.metrics = metrics;
  const TrainOutcome outcome = run(second);
  ASSERT_TRUE(outcome.report);
  EXPECT_EQ(outcome.report->first_step, 4);
  EXPECT_EQ(outcome.report->steps, 2);
  EXPECT_EQ(outcome.report->planned_steps, 5);
  EXPECT_GT(outcome.report->snapshot_bytes, 0);
  std::istringstream lines(content_of(metrics));
  int step = 0;
  for (std::string line; std::getline(lines, line);) EXPECT_EQ(json::parse(line)["step"], ++step);
  EXPECT_EQ(step, 5);
}

TEST_F(ResumeTest, AtItsEndOnlyTheWeightsAreSaved) {
  const fs::path folder = scratch_.path() / "folder";
  TrainRequest whole = request(kLayouts[3], 3, folder);
  whole.save = scratch_.path() / "one";
  expect_ends_well(whole);
  whole.save = scratch_.path() / "other";
  const TrainOutcome outcome = run(whole);
  EXPECT_TRUE(outcome.failures.empty());
  EXPECT_FALSE(outcome.report);
  EXPECT_TRUE(content_of(scratch_.path() / "one") == content_of(scratch_.path() / "other"));
}

TEST_F(ResumeTest, CheckpointsComeAsOftenAsAsked) {
  TrainRequest often = request(kLayouts[3], 7, scratch_.path() / "steps");
  often.checkpoint_every = CheckpointInterval{3, 0};
  often.keep = 10;
  const TrainOutcome outcome = run(often);
  ASSERT_TRUE(outcome.report);
  EXPECT_GE(outcome.report->snapshots, 1);
  EXPECT_GT(outcome.report->snapshot_seconds, 0);
  std::vector<std::string> names;
  for (const fs::path& path : checkpoints_in(scratch_.path() / "steps")) {
    names.push_back(path.filename());
  }
  EXPECT_EQ(names.front(), "step-00000007");
  EXPECT_GE(names.size(), 2u);  // one that comes while another is written waits for the next step
  often.checkpoint_dir = scratch_.path() / "time";
  often.checkpoint_every = CheckpointInterval{0, 1e-9};
  expect_ends_well(often);
  EXPECT_GE(checkpoints_in(scratch_.path() / "time").size(), 2u);
}

TEST_F(ResumeTest, OtherSettingsAreRefusedUnlessAskedFor) {
  const fs::path folder = scratch_.path() / "folder";
  expect_ends_well(request(kLayouts[3], 2, folder));
  const auto error = [&](const std::function<void(TrainRequest&)>& change) {
    TrainRequest changed = request(kLayouts[3], 4, folder);
    change(changed);
    try {
      run(changed);
    } catch (const UsageError& refused) {
      return refused.message();
    }
    return std::string("accepted");
  };
  expect_has(error([](TrainRequest& r) { r.seed = 5; }), "seed 5 instead of 1138");
  expect_has(error([](TrainRequest& r) { r.micro_batch_size = 1; }), "batch 4 instead of 8");
  expect_has(error([](TrainRequest& r) { r.learning_rate = 0.5; }),
             "learning_rate 0.5 instead of 0.01");
  expect_has(
      error([](TrainRequest& r) { r.learning_rate_schedule.kind = LearningRateKind::kCosine; }),
      "learning_rate_schedule \"cosine to 0 at step 4\" instead of \"constant\"");
  expect_has(error([](TrainRequest& r) { r.clip_grad_norm = 1; }), "clip_grad_norm 1.0 instead of");
  expect_has(error([](TrainRequest& r) { r.gradient_groups = 2; }),
             "gradient_groups 2 instead of nothing");
  expect_has(error([](TrainRequest& r) { r.label_smoothing = 0.5; }), "label_smoothing 0.5");
  expect_has(error([](TrainRequest& r) { r.last_batch = LastBatch::kKeep; }),
             "last_batch \"keep\" instead of \"drop\"");
  expect_has(error([](TrainRequest& r) { r.optimizer = OptimizerKind::kAdam; }), "optimizer");
  expect_has(error([](TrainRequest& r) { r.max_train_samples = 16; }), "images 16 instead of 26");
  expect_has(error([](TrainRequest& r) { r.random_flip = false; }), "random_flip");
  expect_has(error([](TrainRequest& r) { r.convolution = Convolution::kDirect; }), "convolution");
  expect_has(error([](TrainRequest& r) { r.resume = false; }), "--resume goes on");
  EXPECT_EQ(checkpoints_in(folder).size(), 1u);
  TrainRequest anyway = request(kLayouts[3], 4, folder);
  anyway.learning_rate = 0.5;
  anyway.resume_anyway = true;
  expect_ends_well(anyway);
}

TEST_F(ResumeTest, DamagedOnesAreSkippedAndNeverReplacedByANewBeginning) {
  const fs::path folder = scratch_.path() / "folder", never = scratch_.path() / "never";
  expect_ends_well(request(kLayouts[3], 5, never));
  expect_ends_well(request(kLayouts[3], 2, folder));
  expect_ends_well(request(kLayouts[3], 3, folder));
  write_text(folder / "step-00000003" / "optimizer.safetensors", "damaged");
  expect_ends_well(request(kLayouts[9], 5, folder));
  EXPECT_TRUE(weights_of(folder, 5) == weights_of(never, 5));
  for (const fs::path& path : checkpoints_in(folder)) fs::remove(path / "manifest.json");
  try {
    run(request(kLayouts[3], 6, folder));
    FAIL();
  } catch (const Error& error) {
    expect_has(error.message(), "only damaged ones");
  }
}

TEST_F(ResumeTest, OptionsThatCannotStandTogether) {
  const auto error = [](const std::function<void(TrainRequest&)>& change) {
    TrainRequest request;
    change(request);
    try {
      resolve(request);
    } catch (const UsageError& refused) {
      return refused.message();
    }
    return std::string("accepted");
  };
  expect_has(error([](TrainRequest& r) { r.resume = true; }), "--resume with --checkpoint-dir");
  expect_has(error([](TrainRequest& r) { r.keep = 3; }), "--keep with --checkpoint-dir");
  expect_has(error([](TrainRequest& r) { r.checkpoint_every = CheckpointInterval{}; }),
             "--checkpoint-every with --checkpoint-dir");
  expect_has(error([](TrainRequest& r) { r.max_minutes = -1; }), "--max-minutes of at least 0");
  expect_has(error([](TrainRequest& r) {
               r.checkpoint_dir = "x";
               r.keep = 0;
             }),
             "--keep of at least 1");
  expect_has(error([](TrainRequest& r) {
               r.checkpoint_dir = "x";
               r.resume = true;
               r.init = "w";
             }),
             "--init or --resume");
}

}  // namespace
}  // namespace stagecoach
