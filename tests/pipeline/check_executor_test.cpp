// check against the machine itself: on random tables, legal and damaged, check says yes exactly
// when the executor, which is not told what check thinks, finishes with the right bits.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <optional>
#include <random>
#include <thread>

#include "comm/local_channel.h"
#include "layers/layers.h"
#include "pipeline/executor.h"
#include "pipeline/plain_loop.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/placement.h"
#include "tests/kernels/tensors.h"
#include "tests/pipeline/schedule/table_text.h"

namespace stagecoach {

struct UncheckedProgram {
  static Program make(Schedule schedule, BufferCounts buffers, Reach reach) {
    return {std::move(schedule), std::move(reach), std::move(buffers)};
  }
};

namespace {

using testing::bytes_of;

constexpr int kRows = 2, kFeatures = 8, kHidden = 12, kClasses = 3, kLayers = 4, kSteps = 2;
constexpr int kMostMicroBatches = 4;

Network tiny_network() {
  return {"tiny",
          {{"fc0", linear_layer(kFeatures, kHidden)},  // parameters in every stage
           {"fc1", linear_layer(kHidden, kHidden)},
           {"fc2", linear_layer(kHidden, kHidden)},
           {"fc3", linear_layer(kHidden, kClasses)}}};
}

TensorSpec tiny_input(int rows) {
  return row_major({rows, kFeatures});
}

std::shared_ptr<const Optimizer> optimizer() {
  return make_sgd(0.5f, {.momentum = 0.9f, .weight_decay = 0.01f});
}

// The bytes of weights and losses after some steps.
using Bits = std::map<std::string, std::vector<std::uint8_t>>;

class Job {
 public:
  explicit Job(int micro_batches) : micro_batches_(micro_batches) {
    for (int step = 0; step < kSteps; ++step) {
      images_.push_back(testing::random_tensor(tiny_input(micro_batches * kRows), 9 + step));
      labels_.emplace_back(row_major({micro_batches * kRows}, DType::kI32));
      for (std::int64_t i = 0; i < labels_.back().tensor.elements(); ++i) {
        labels_.back().tensor.as<std::int32_t>()[i] = static_cast<std::int32_t>(i % kClasses);
      }
    }
  }
  StepInput input(int step) const {
    StepInput input;
    input.images = images_[step].tensor;
    input.targets = labels_[step].tensor;
    input.micro.step = step;
    input.optimizer = optimizer_.get();
    return input;
  }
  std::int64_t samples() const { return static_cast<std::int64_t>(micro_batches_) * kRows; }

 private:
  int micro_batches_;
  std::shared_ptr<const Optimizer> optimizer_ = optimizer();
  std::vector<OwnedTensor> images_, labels_;
};

Bits bits_of(const std::vector<std::unique_ptr<Stage>>& stages) {
  Bits bits;
  for (const auto& stage : stages) {
    for (const Stage::Parameter& p : stage->parameters()) bits[p.name] = bytes_of(p.value);
  }
  bits["losses"] = bytes_of(stages.back()->losses());
  return bits;
}

Bits right_bits(int micro_batches) {
  const Network network = tiny_network();
  PipelineOptions options;
  options.schedule = naive_schedule(1, micro_batches);
  options.optimizer = optimizer();
  const Job job(micro_batches);
  options.loss_rows = job.samples();
  PlainLoop loop(network, network.plan(tiny_input(kRows), options.target), options);
  loop.stages()[0]->initialize(1);
  for (int step = 0; step < kSteps; ++step) loop.run(job.input(step));
  return bits_of(loop.stages());
}

// The ranks of a table on threads, as in Pipeline, but without any check before.
class Machine {
 public:
  Machine(const Schedule& schedule, const BufferCounts& buffers, const Reach& reach)
      : program_(UncheckedProgram::make(with_optimizer_steps(with_communication(schedule)), buffers,
                                        reach)),
        plans_(network_.plan(tiny_input(kRows), 1)) {
    const Placement placement(schedule);
    std::vector<int> rank_of;
    for (int s = 0; s < schedule.stages; ++s) rank_of.push_back(placement.ranks_of(s).front());
    for (std::size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
      contexts_.push_back(std::make_unique<Context>(1));
    }
    std::vector<std::map<int, LinkedStage>> linked(schedule.ranks.size());
    for (int s = 0; s < schedule.stages; ++s) {
      const int rank = rank_of.at(s);
      stages_.push_back(std::make_unique<Stage>(network_, plans_, options_of(s),
                                                *contexts_.at(static_cast<std::size_t>(rank))));
      linked[rank][s].stage = stages_.back().get();
      stages_.back()->initialize(1);
      if (s == 0 || rank == rank_of[s - 1]) continue;
      for (int i = 0; i < 2; ++i) channels_.push_back(make_local_channel(rendezvous_));
      linked[rank_of[s - 1]][s - 1].activations_out = linked[rank][s].activations_in =
          channels_[channels_.size() - 2].get();
      linked[rank][s].gradients_out = linked[rank_of[s - 1]][s - 1].gradients_in =
          channels_.back().get();
    }
    const auto link = [&](int maker, int reader, auto readers, auto makers) {
      if (rank_of[maker] == rank_of[reader]) return;
      channels_.push_back(make_local_channel(rendezvous_));
      (linked[rank_of[maker]][maker].*readers).push_back(channels_.back().get());
      (linked[rank_of[reader]][reader].*makers).push_back(channels_.back().get());
    };
    for (int s = 0; s < schedule.stages; ++s) {
      for (int t = s + 2; t <= reach.last_reader_of(s) && t < schedule.stages; ++t) {
        link(s, t, &LinkedStage::output_readers, &LinkedStage::output_makers);
      }
      for (int t = reach.first_reader_of(s); t < s - 1; ++t) {
        link(s, t, &LinkedStage::gradient_readers, &LinkedStage::gradient_makers);
      }
    }
    for (std::size_t rank = 0; rank < linked.size(); ++rank) {
      executors_.push_back(std::make_unique<Executor>(static_cast<int>(rank), linked[rank]));
    }
  }

  // The first step on one thread. Throws its error.
  void run_on_one_thread(const Job& job) {
    enqueue_step(program_, executors_, *rendezvous_, job.input(0));
  }

  // Throws the first rank's error.
  Bits run(const Job& job) {
    for (int step = 0; step < kSteps; ++step) {
      for (const auto& channel : channels_) channel->reset();
      rendezvous_->begin(static_cast<int>(executors_.size()));
      const StepInput input = job.input(step);
      for (const auto& context : contexts_) begin_step(*context, values_of(input));
      std::vector<std::exception_ptr> errors(executors_.size());
      std::vector<std::thread> threads;
      for (std::size_t rank = 0; rank < executors_.size(); ++rank) {
        threads.emplace_back([&, rank] {
          try {
            executors_[rank]->run(program_, input);
          } catch (...) {
            errors[rank] = std::current_exception();
          }
          rendezvous_->leave();
        });
      }
      for (std::thread& thread : threads) thread.join();
      for (const std::exception_ptr& error : errors) {
        if (error) std::rethrow_exception(error);
      }
      for (const auto& channel : channels_) channel->check_complete();
    }
    return bits_of(stages_);
  }

 private:
  StageOptions options_of(int s) const {
    StageOptions options;
    const int last = program_.stages() - 1;
    options.first = s;  // a layer each, the last stage has the rest
    options.end = s == last ? kLayers : s + 1;
    options.memory = memory_of_stage(program_.buffers(), s);
    options.memory.recomputes = true;
    options.memory.micro_batches = program_.micro_batches();
    options.memory.loss_rows = static_cast<std::int64_t>(program_.micro_batches()) * kRows;
    options.memory.optimizer_states = 1;
    return options;
  }

  const Network network_ = tiny_network();
  const Program program_;
  std::vector<LayerPlan> plans_;
  std::shared_ptr<Rendezvous> rendezvous_ = std::make_shared<Rendezvous>();
  std::vector<std::unique_ptr<Context>> contexts_;
  std::vector<std::unique_ptr<Stage>> stages_;
  std::vector<std::unique_ptr<Channel>> channels_;
  std::vector<std::unique_ptr<Executor>> executors_;
};

class Tables {
 public:
  explicit Tables(unsigned seed) : random_(seed) {}

  int below(std::size_t limit) { return static_cast<int>(random_() % limit); }

  Schedule legal() {
    const int micro_batches = 1 + below(kMostMicroBatches);
    const std::vector<std::string> names = schedule_names();
    Schedule schedule;
    while (schedule.ranks.empty()) {
      try {
        schedule = make_schedule(names[below(names.size())], 1 + below(4), micro_batches);
      } catch (const UsageError&) {  // not with so few micro-batches
      }
      if (schedule.stages > kLayers) schedule.ranks.clear();
    }
    if (schedule.ranks.size() > 1 && below(4) == 0) merge_two_ranks(schedule);
    schedule = with_recompute(schedule, std::array{Recompute::kNever, Recompute::kExceptLast,
                                                   Recompute::kAlways}[below(3)]);
    if (below(2) == 0) split_backwards(schedule);
    return with_optimizer_steps(with_communication(schedule));
  }

  // Two ranks' tables, shuffled into one: several stages on a rank, often in no possible order.
  void merge_two_ranks(Schedule& schedule) {
    std::vector<Action> other = std::move(schedule.ranks.back()), merged;
    schedule.ranks.pop_back();
    std::vector<Action>& own = schedule.ranks[below(schedule.ranks.size())];
    std::size_t i = 0, j = 0;
    while (i < own.size() || j < other.size()) {
      const bool take_own = j == other.size() || (i < own.size() && below(2) == 0);
      merged.push_back(take_own ? own[i++] : other[j++]);
    }
    own = merged;
  }

  // Some BW into B and W, W at once or later.
  void split_backwards(Schedule& schedule) {
    for (std::vector<Action>& actions : schedule.ranks) {
      std::vector<Action> result, late;
      for (Action action : actions) {
        result.push_back(action);
        if (action.kind != ActionKind::kBackward) continue;
        result.back().kind = ActionKind::kBackwardInput;
        action.kind = ActionKind::kBackwardWeight;
        late.push_back(action);
        if (below(2) == 0) result.insert(result.end(), late.begin(), late.end()), late.clear();
      }
      result.insert(result.end(), late.begin(), late.end());
      actions = result;
    }
  }

  // Values that are read by later stages than the next, or gradients by earlier ones.
  Reach reach(int stages) {
    Reach result;
    if (below(2) == 0) return result;
    for (int s = 0; s < stages; ++s) {
      result.last_reader.push_back(s + 1 < stages ? s + 1 + below(stages - s - 1) : s);
      result.first_reader.push_back(s > 0 ? below(s) : s);
    }
    return result;
  }

  void damage(Schedule& schedule) {
    std::vector<Action>& actions = schedule.ranks[below(schedule.ranks.size())];
    if (actions.empty()) return;
    const int at = below(actions.size());
    switch (below(14)) {
      case 0:
        actions.erase(actions.begin() + at);
        break;
      case 1:
        actions.insert(actions.begin() + below(actions.size()), actions[at]);
        break;
      case 2:
        actions[at].micro_batch = below(kMostMicroBatches + 2) - 1;
        break;
      case 3:
        actions[at].stage = below(kLayers + 1) - 1;
        break;
      case 4:
        actions[at].kind = static_cast<ActionKind>(below(kActionKinds));
        break;
      case 5:
        std::shuffle(actions.begin(), actions.end(), random_);
        break;
      case 6: {
        const Action moved = actions[at];
        actions.erase(actions.begin() + at);
        std::vector<Action>& other = schedule.ranks[below(schedule.ranks.size())];
        other.insert(other.begin() + below(other.size() + 1), moved);
        break;
      }
      case 7:
      case 8:
        std::swap(actions[at], actions[below(actions.size())]);
        break;
      default:
        if (at > 0) std::swap(actions[at], actions[at - 1]);
    }
  }

 private:
  std::mt19937 random_;
};

// Enough of everything, for tables that check refuses.
BufferCounts plenty(int stages) {
  const std::vector<int> counts(static_cast<std::size_t>(stages), 2 * kMostMicroBatches);
  return {counts, counts, counts, counts, counts, counts};
}

// What the machine makes of the table: empty when the bits are right, else why not.
std::string verdict_of(const Schedule& schedule, const BufferCounts& buffers, const Reach& reach,
                       const Job& job, const Bits& right) {
  try {
    return Machine(schedule, buffers, reach).run(job) == right ? "" : "other bits";
  } catch (const std::exception& error) {
    return error.what();
  }
}

#ifdef STAGECOACH_SANITIZED
constexpr int kRounds = 1000;
#else
constexpr int kRounds = 10000;
#endif

TEST(CheckExecutor, AcceptsExactlyWhatFinishesWithTheRightBits) {
  std::vector<Job> jobs;
  std::vector<Bits> right;
  for (int micro_batches = 1; micro_batches <= kMostMicroBatches; ++micro_batches) {
    jobs.emplace_back(micro_batches);
    right.push_back(right_bits(micro_batches));
  }
  Tables tables(11);
  int accepted = 0;
  for (int round = 0; round < kRounds; ++round) {
    Schedule schedule = tables.legal();
    for (int i = tables.below(4); i > 0; --i) tables.damage(schedule);
    const Reach reach = tables.reach(schedule.stages);
    std::optional<BufferCounts> buffers;
    std::string refusal;
    try {
      buffers = check(schedule, {.reach = reach}).buffers();
      ++accepted;
    } catch (const Error& error) {
      refusal = error.message();
    }
    const std::string verdict =
        verdict_of(schedule, buffers.value_or(plenty(schedule.stages)), reach,
                   jobs[schedule.micro_batches - 1], right[schedule.micro_batches - 1]);
    ASSERT_EQ(refusal.empty(), verdict.empty())
        << "round " << round << "\ncheck: " << refusal << "\nmachine: " << verdict << "\n"
        << schedule.to_text();
  }
  // The test would say little if nearly all tables were legal, or nearly none.
  EXPECT_GT(accepted, kRounds / 5);
  EXPECT_LT(accepted, kRounds * 4 / 5);
}

// Rank 1 waits for the first message as the second one, which is sent only after what it makes of
// it: check() refuses that. Nobody else is there to notice.
TEST(EnqueueStep, AWaitThatNobodyCanEndIsAnError) {
  const Schedule schedule = table(2, 2,
                                  {"0F0 0SEND_F0 0RECV_B0 0BW0 0F1 0SEND_F1 0RECV_B1 0BW1",
                                   "1RECV_F1 1RECV_F0 1F0 1BW0 1SEND_B0 1F1 1BW1 1SEND_B1"});
  EXPECT_NE(error_of([&] { check(schedule); }), "");
  const Job job(2);
  Machine machine(schedule, plenty(2), {});
  EXPECT_EQ(
      error_of([&] { machine.run_on_one_thread(job); }),
      "rank 1, stage 1, F of micro-batch 0: a step: expected an order in which every rank can go "
      "on, got a deadlock: all ranks wait for each other");
}

}  // namespace
}  // namespace stagecoach
