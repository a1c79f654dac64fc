// A network that is no list: the same bits for every number of stages and schedule; its state, and
// what a failed step leaves of it.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/pipeline/residual_job.h"
#include "tests/pipeline/schedule/table_text.h"

namespace stagecoach {
namespace {

using testing::plain_options;
using testing::residual_network;
using testing::residual_options;
using testing::residual_regression;
using testing::ResidualJob;
using testing::ResidualOutcome;
using testing::trained_by;

std::string name_of(const PipelineOptions& options) {
  return fmt::format("{}, M = {}, {} threads, cuts {}", options.schedule.name,
                     options.schedule.micro_batches, options.target.threads,
                     fmt::join(options.partition.first, ","));
}

// Every schedule for 1 to 4 ranks, as far as it has one for so few micro-batches.
std::vector<Schedule> all_schedules(int micro_batches) {
  std::vector<Schedule> schedules;
  for (const std::string& name : schedule_names()) {
    for (int ranks = 1; ranks <= 4; ++ranks) {
      try {
        schedules.push_back(make_schedule(name, ranks, micro_batches));
      } catch (const UsageError&) {
      }
    }
  }
  return schedules;
}

TEST(Residual, SameBitsForEveryScheduleAndNumberOfStages) {
  int threads = 1;
  for (const int micro_batches : {1, 8}) {
    const ResidualOutcome expected = trained_by(plain_options(micro_batches), residual_network());
    EXPECT_EQ(trained_by(plain_options(micro_batches, 2), residual_network()), expected);
    for (const Schedule& schedule : all_schedules(micro_batches)) {
      threads = 3 - threads;  // 1 and 2 take turns
      for (const Recompute recompute : {Recompute::kNever, Recompute::kAlways}) {
        const PipelineOptions options =
            residual_options(with_recompute(schedule, recompute),
                             recompute == Recompute::kNever ? threads : 3 - threads);
        SCOPED_TRACE(name_of(options));
        ASSERT_EQ(trained_by(options, residual_network()), expected);
      }
    }
  }
}

TEST(Residual, SameBitsForEveryCut) {
  const ResidualOutcome expected = trained_by(plain_options(3), residual_network());
  const int layers = residual_network().size();
  for (int cut = 1; cut < layers; ++cut) {
    PipelineOptions options = residual_options(one_f_one_b_schedule(2, 3));
    options.partition.first = {0, cut};
    SCOPED_TRACE(name_of(options));
    ASSERT_EQ(trained_by(options, residual_network()), expected);
  }
  for (const char* schedule : {"gpipe", "1f1b", "naive"}) {  // a layer on each stage
    PipelineOptions options = residual_options(make_schedule(schedule, layers, 3));
    ASSERT_EQ(trained_by(options, residual_network()), expected);
  }
}

TEST(Residual, SameBitsForEveryRecomputeInterval) {
  const ResidualOutcome expected = trained_by(plain_options(3), residual_network());
  for (const int stages : {1, 3}) {
    for (const int interval : {1, 2, 3, 5}) {
      PipelineOptions options =
          residual_options(with_recompute(gpipe_schedule(stages, 3), Recompute::kAlways));
      options.recompute_interval = interval;
      SCOPED_TRACE(fmt::format("{} every {}", name_of(options), interval));
      ASSERT_EQ(trained_by(options, residual_network()), expected);
    }
  }
}

TEST(Residual, SameBitsWithSeveralStagesOnARank) {
  const ResidualOutcome expected = trained_by(plain_options(4), residual_network());
  for (const std::vector<int>& ranks : std::vector<std::vector<int>>{
           {0, 1, 0, 1, 0}, {0, 0, 1, 1, 2}, {0, 1, 1, 0, 1}, {1, 0, 2, 0, 1}}) {
    for (const char* name : {"gpipe", "1f1b"}) {
      for (unsigned seed = 0; seed < 3; ++seed) {
        const Schedule schedule = testing::on_ranks(make_schedule(name, 5, 4), ranks, seed);
        ASSERT_EQ(trained_by(residual_options(schedule), residual_network()), expected)
            << fmt::format("{} {}", name, fmt::join(ranks, ","));
      }
    }
  }
}

TEST(Residual, RegressionTrainsInAPipeline) {
  const ResidualOutcome expected = trained_by(plain_options(4), residual_regression());
  EXPECT_TRUE(expected.correct.empty());
  const auto mean = [](const testing::Bytes& losses) {
    const auto* loss = reinterpret_cast<const float*>(losses.data());
    double sum = 0;
    for (std::size_t i = 0; i < losses.size() / sizeof(float); ++i) sum += loss[i];
    return sum;
  };
  EXPECT_GT(mean(expected.losses[0]), 0);
  for (const Schedule& schedule : all_schedules(4)) {
    SCOPED_TRACE(schedule.name);
    ASSERT_EQ(trained_by(residual_options(schedule), residual_regression()), expected);
  }
}

TEST(Residual, RunningStatisticsMoveOnceAStep) {
  ResidualJob job(residual_options(gpipe_schedule(3, 2)), residual_network());
  const auto start = job.trained().buffers;
  EXPECT_EQ(start.size(), 8U);
  job.evaluate();
  EXPECT_EQ(job.trained().buffers, start);
  job.train(1);
  const auto once = job.trained().buffers;
  for (const auto& [name, bytes] : once) EXPECT_NE(bytes, start.at(name)) << name;
  job.evaluate();
  EXPECT_EQ(job.trained().buffers, once);
}

// Where all images are equal, so are the statistics of one micro-batch and of three.
TEST(Residual, RunningStatisticsAreOfEveryMicroBatch) {
  const auto all_equal = [](const Tensor& images) {
    const std::int64_t size = images.elements() / images.shape()[0];
    auto* values = images.as<float>();
    for (std::int64_t i = 0; i < images.elements(); ++i) {
      values[i] = static_cast<float>((i % size) % 7) / 7;
    }
  };
  ResidualJob one(plain_options(1), residual_network()),
      three(plain_options(3), residual_network());
  one.run(0, true, all_equal);
  three.run(0, true, all_equal);
  const OwnedTensor expected = one.loop().get_state("bn1.running_mean"),
                    got = three.loop().get_state("bn1.running_mean");
  for (std::int64_t c = 0; c < expected.tensor.elements(); ++c) {
    EXPECT_NEAR(got.tensor.as<float>()[c], expected.tensor.as<float>()[c], 1e-6) << c;
    EXPECT_GT(std::abs(expected.tensor.as<float>()[c]), 1e-4) << c;
  }
}

// A table may say where gradients are reduced: the step of a stage ends there, and no second time.
TEST(Residual, AStepEndsOnceWhereATableReducesGradients) {
  Schedule schedule = gpipe_schedule(2, 3);
  for (int rank = 0; rank < 2; ++rank) {
    schedule.ranks[rank].push_back({ActionKind::kReduceGradient, rank, -1});
  }
  EXPECT_EQ(trained_by(residual_options(schedule), residual_network()),
            trained_by(plain_options(3), residual_network()));
}

TEST(Residual, AFailedStepChangesNeitherWeightsNorStatistics) {
  for (const int stages : {0, 1, 3}) {
    SCOPED_TRACE(stages);
    ResidualJob job(stages == 0 ? plain_options(3) : residual_options(gpipe_schedule(stages, 3)),
                    residual_network());
    job.train(2);
    const ResidualOutcome before = job.trained();
    EXPECT_THROW(job.run(2, true, testing::spoil_an_image), NumericError);
    const ResidualOutcome after = job.trained();
    EXPECT_EQ(after.weights, before.weights);
    EXPECT_EQ(after.buffers, before.buffers);
    // Training goes on as if nothing had been.
    job.train(1, 2);
    ResidualJob undisturbed(plain_options(3), residual_network());
    undisturbed.train(3);
    EXPECT_EQ(job.trained(), undisturbed.trained());
  }
}

}  // namespace
}  // namespace stagecoach
