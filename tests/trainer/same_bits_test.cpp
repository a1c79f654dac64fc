// Losses and weights have the same bits for every number of stages, schedule, partition, cut of the
// batch into micro-batches, number of threads, instruction set and machine.
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/cpu/instruction_set.h"
#include "pipeline/schedule/generators.h"
#include "tests/trainer/engine_run.h"
#include "trainer/cli/words.h"

namespace stagecoach {
namespace {

using testing::different_weights;
using testing::EngineRun;
using testing::training_batches;
using testing::weights_of;

const std::vector<std::string> kSchedules = schedule_names();
constexpr int kSteps = 5;

// One kind of training: what must not change the bits is set on top of `config`.
struct Job {
  Network network;
  TrainRequest config;
};

std::string name_of(const TrainRequest& c) {
  return fmt::format("R = {}, K = {}, {}, partition {}{}, {} threads, M = {}, {}",
                     c.replicas.value_or(1), *c.stages, c.schedule, name_of(c.partition.kind),
                     fmt::join(c.partition.cuts, ","), c.threads, *c.micro_batches,
                     word_of(kOptimizerWords, *c.optimizer));
}

std::vector<double> train(Engine& engine, const TrainRequest& config) {
  static const Dataset images = make_synthetic(11, Split::kTrain, 64);
  const auto loader = training_batches(images, config);
  std::vector<double> losses;
  for (int i = 0; i < kSteps; ++i) losses.push_back(engine.train_batch(*loader->next()).loss);
  return losses;
}

// The plain loop with one thread, which all others are compared with.
struct Reference {
  explicit Reference(const Job& job) {
    TrainRequest plain = job.config;
    plain.stages = 0;
    plain.threads = 1;
    EngineRun run(job.network, plain);
    losses = train(run.engine, plain);
    weights = weights_of(run.engine);
  }
  std::vector<double> losses;
  std::map<std::string, testing::Bytes> weights;
};

void expect_same_bits(const Job& job, const Reference& reference, const TrainRequest& config) {
  SCOPED_TRACE(name_of(config));
  EngineRun run(job.network, config);
  EXPECT_EQ(train(run.engine, config), reference.losses);
  EXPECT_EQ(different_weights(run.engine, reference.weights), "");
  for (const auto& stage : run.engine.loop().stages()) {
    EXPECT_EQ(stage->arena().peak_bytes(), stage->arena().plan().bytes()) << "planned memory";
  }
}

// There are layers enough, and micro-batches (DualPipe-V wants twice as many as ranks).
bool can_have(const Network& network, const TrainRequest& config) {
  if (*config.stages * default_chunks(config.schedule) > network.size()) return false;
  return config.schedule != "dualpipe-v" || *config.micro_batches >= 2 * *config.stages;
}

// Every schedule with 1 and 2 threads. The plain loop has no schedule.
void expect_same_bits_for_schedules(const Job& job, const Reference& reference, int stages) {
  for (const std::string& schedule : kSchedules) {
    if (stages == 0 && schedule != kSchedules.front()) continue;
    for (const int threads : {1, 2}) {
      TrainRequest config = job.config;
      config.stages = stages;
      config.schedule = schedule;
      config.threads = threads;
      if (can_have(job.network, config)) expect_same_bits(job, reference, config);
    }
  }
}

std::string stages_name(const ::testing::TestParamInfo<int>& stages) {
  return "K" + std::to_string(stages.param);
}

// All of AlexNet, as `stagecoach train` makes it: 57 million parameters, dropout on.
class AlexNetBits : public ::testing::Test {
 protected:
  void SetUp() override {
#ifdef STAGECOACH_SANITIZED
    GTEST_SKIP() << "too slow with a sanitizer: the small network does the same there";
#endif
  }
  static const Job& job() {
    static const Job alexnet = [] {
      TrainRequest config;
      config.device = DeviceRequest::cpu();
      config.image_size = 64;
      config.micro_batch_size = 2;
      config.micro_batches = 3;
      config.partition = {PartitionKind::kUniform, {}};
      config.optimizer = OptimizerKind::kSgd;
      return Job{make_alexnet(10, static_cast<float>(config.dropout)), config};
    }();
    return alexnet;
  }
  // Made when it is first needed: a test in a process of its own makes one.
  static const Reference& reference() {
    static const Reference plain(job());
    return plain;
  }
};

class AlexNetStagesBits : public AlexNetBits, public ::testing::WithParamInterface<int> {};

// scripts/long_checks.sh trains for more.
INSTANTIATE_TEST_SUITE_P(Stages, AlexNetStagesBits, ::testing::Values(2, 4), stages_name);

TEST_P(AlexNetStagesBits, AreThoseOfThePlainLoopWithAnyScheduleAndThreads) {
  expect_same_bits_for_schedules(job(), reference(), GetParam());
}

// A hash of losses and weights (FNV-1a, 64 bits), the same on every machine.
class Hash {
 public:
  void add(const void* data, std::size_t bytes) {
    const auto* from = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i < bytes; ++i) value_ = (value_ ^ from[i]) * 0x100000001b3;
  }
  std::string text() const { return fmt::format("{:016x}", value_); }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325;
};

std::string hash_of_training(const Job& job, const TrainRequest& config) {
  EngineRun run(job.network, config);
  Hash hash;
  for (const double loss : train(run.engine, config)) hash.add(&loss, sizeof(loss));
  for (const auto& [name, bytes] : weights_of(run.engine)) hash.add(bytes.data(), bytes.size());
  return hash.text();
}

// Each cut of the batch with another schedule, number of stages and threads, for each instruction
// set that this machine has.
TEST_F(AlexNetBits, AreOnesWrittenHereForAnyCutOfTheBatch) {
  struct Cut {
    int micro_batches, micro_batch_size, stages;
    const char* schedule;
    int threads;
  };
  constexpr Cut kCuts[] = {{1, 16, 0, "1f1b", 2},
                           {4, 4, 2, "1f1b", 1},
                           {8, 2, 4, "zb-v", 1},
                           {16, 1, 1, "gpipe", 2},
                           {2, 8, 2, "gpipe", 1}};
  for (const std::string& set : cpu::instruction_sets()) {
    cpu::use_instruction_set(set);
    for (const Cut& cut : kCuts) {
      TrainRequest config = job().config;
      config.micro_batches = cut.micro_batches;
      config.micro_batch_size = cut.micro_batch_size;
      config.stages = cut.stages;
      config.schedule = cut.schedule;
      config.threads = cut.threads;
      EXPECT_EQ(hash_of_training(job(), config), "e6ba07420de447ff")
          << set << ", " << name_of(config);
    }
  }
  cpu::use_instruction_set("");
}

TEST_F(AlexNetBits, AreThoseOfThePlainLoopWithAnyPartition) {
  std::string each_layer = "1";
  for (int layer = 2; layer < job().network.size(); ++layer) {
    each_layer += "," + std::to_string(layer);
  }
  const std::vector<std::pair<int, std::string>> partitions = {
      {4, "time"}, {8, "parameters"}, {2, "1"}, {3, "3,10"}, {22, each_layer}};
  for (const auto& [stages, partition] : partitions) {
    TrainRequest config = job().config;
    config.stages = stages;
    config.partition = partition_of("test", partition);
    config.threads = 1;
    expect_same_bits(job(), reference(), config);
  }
}

TEST_F(AlexNetBits, AreThoseOfThePlainLoopWithRecomputation) {
  struct Mode {
    const char* schedule;
    Recompute recompute;
    int interval;
  };
  for (const Mode& mode : {Mode{"gpipe", Recompute::kAlways, 0},
                           {"1f1b", Recompute::kExceptLast, 0},
                           {"1f1b", Recompute::kAlways, 3},
                           {"zb-v", Recompute::kAlways, 0}}) {
    TrainRequest config = job().config;
    config.stages = 3;
    config.schedule = mode.schedule;
    config.recompute = mode.recompute;
    config.recompute_interval = mode.interval;
    config.threads = 1;
    expect_same_bits(job(), reference(), config);
  }
}

// The small network is quick, so everything is crossed with everything, and with M and optimizers.
class SmallNetworkBits : public ::testing::TestWithParam<int> {
 protected:
  static Job job(int micro_batches, OptimizerKind optimizer) {
    TrainRequest config = testing::small_config(0);
    config.micro_batches = micro_batches;
    config.optimizer = optimizer;
    config.learning_rate = optimizer == OptimizerKind::kAdam ? 1e-3 : 0.05;
    return {testing::small_network(static_cast<float>(config.dropout)), config};
  }
};

INSTANTIATE_TEST_SUITE_P(Stages, SmallNetworkBits, ::testing::Values(0, 1, 2, 3, 4, 8, 12),
                         stages_name);

#ifdef STAGECOACH_SANITIZED
const std::vector<int> kMicroBatches = {2, 5};  // memory and races are the same for the others
#else
const std::vector<int> kMicroBatches = {1, 2, 3, 5, 8};
#endif

TEST_P(SmallNetworkBits, AreThoseOfThePlainLoop) {
  for (const int micro_batches : kMicroBatches) {
    for (const OptimizerKind optimizer : {OptimizerKind::kSgd, OptimizerKind::kAdam}) {
      Job one = job(micro_batches, optimizer);
      const Reference reference(one);
      for (const PartitionKind partition : {PartitionKind::kUniform, PartitionKind::kParameters}) {
        one.config.partition = {partition, {}};
        expect_same_bits_for_schedules(one, reference, GetParam());
      }
    }
  }
}

// Also with what an honest recipe adds. Clipping has every stage wait for all others.
TEST_P(SmallNetworkBits, AreThoseOfThePlainLoopWithARecipe) {
  Job one = job(3, OptimizerKind::kSgd);
  one.config.clip_grad_norm = 0.5;
  one.config.init_scheme = InitScheme::kKaiming;
  const Reference reference(one);
  for (const PartitionKind partition : {PartitionKind::kUniform, PartitionKind::kParameters}) {
    one.config.partition = {partition, {}};
    expect_same_bits_for_schedules(one, reference, GetParam());
  }
}

TEST(SameBits, HoldForEveryCut) {
  TrainRequest config = testing::small_config(2);
  const Job job{testing::small_network(0.5f), config};
  const Reference reference(job);
  for (int cut = 1; cut < job.network.size(); ++cut) {
    config.partition = PartitionRequest::at({cut});
    expect_same_bits(job, reference, config);
  }
}

TEST(SameBits, HoldForEveryCutOfTheBatch) {
  for (const Convolution convolution : {Convolution::kDirect, Convolution::kWinograd}) {
    TrainRequest config = testing::small_config(0);
    config.convolution = convolution;
    Job job{testing::small_network(0.5f), config};
    const Reference reference(job);
    for (const auto& [micro_batches, size] : {std::pair{1, 8}, {2, 4}, {8, 1}}) {
      job.config.micro_batches = micro_batches;
      job.config.micro_batch_size = size;
      for (const int stages : {0, 2, 4}) expect_same_bits_for_schedules(job, reference, stages);
    }
  }
}

// The tree that groups of gradients are added in is the same for every cut; and it adds the same
// gradients as the chain of all, in another order.
TEST(SameBits, HoldForGroupsOfGradients) {
  TrainRequest config = testing::small_config(0);
  config.micro_batches = 4;
  config.micro_batch_size = 2;
  const Reference chain({testing::small_network(0.5f), config});
  config.gradient_groups = 4;
  Job job{testing::small_network(0.5f), config};
  const Reference tree(job);
  EXPECT_TRUE(tree.weights != chain.weights);
  for (const auto& [name, bytes] : tree.weights) {
    const auto floats = [](const testing::Bytes& from) {
      std::vector<float> values(from.size() / sizeof(float));
      std::memcpy(values.data(), from.data(), from.size());
      return values;
    };
    const std::vector<float> a = floats(bytes), b = floats(chain.weights.at(name));
    for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-6) << name;
  }
  for (const auto& [micro_batches, size] : {std::pair{4, 2}, {8, 1}}) {
    job.config.micro_batches = micro_batches;
    job.config.micro_batch_size = size;
    for (const int stages : {0, 2, 4}) expect_same_bits_for_schedules(job, tree, stages);
  }
  job.config.stages = 2;
  job.config.recompute = Recompute::kAlways;
  job.config.recompute_interval = 2;
  expect_same_bits(job, tree, job.config);
  job.config.recompute.reset();
  job.config.recompute_interval = 0;
  for (const auto& [replicas, micro_batches, size] :
       {std::tuple{2, 2, 2}, {2, 4, 1}, {4, 1, 2}, {4, 2, 1}}) {
    job.config.replicas = replicas;
    job.config.micro_batches = micro_batches;
    job.config.micro_batch_size = size;
    job.config.zero = size - 1;
    job.config.overlap = micro_batches == 2;
    for (const int stages : {1, 2, 4}) expect_same_bits_for_schedules(job, tree, stages);
  }
}

// What the bits do depend on: were they the same here too, the comparisons would be worth nothing.
TEST(SameBits, DependOnSeedDropoutAndTheKindOfConvolution) {
  const TrainRequest base = testing::small_config(0);
  const auto reference = [](const TrainRequest& config) {
    return Reference({testing::small_network(static_cast<float>(config.dropout)), config});
  };
  const Reference plain = reference(base);
  TrainRequest seed = base, dropout = base, winograd = base;
  seed.seed = 2;
  dropout.dropout = 0;
  winograd.convolution = Convolution::kWinograd;
  for (const TrainRequest& config : {seed, dropout, winograd}) {
    EXPECT_TRUE(reference(config).weights != plain.weights) << name_of(config);
  }
  EXPECT_TRUE(reference(base).weights == plain.weights);
}

}  // namespace
}  // namespace stagecoach
