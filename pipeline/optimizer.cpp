#include "pipeline/optimizer.h"

#include "core/error.h"

namespace stagecoach {
namespace {

void check_states(const Optimizer& optimizer, const FlatShard& shard) {
  STAGECOACH_CHECK(shard.states.size() == optimizer.states().size(), optimizer.name().data(),
                   fmt::format("{} states", optimizer.states().size()),
                   fmt::format("{}", shard.states.size()));
}

class Sgd : public Optimizer {
 public:
  Sgd(const LearningRate& learning_rate, const SgdOptions& options)
      : learning_rate_(learning_rate), options_(options) {}

  std::string_view name() const override { return "sgd"; }
  std::span<const OptimizerState> states() const override {
    static constexpr OptimizerState kStates[] = {{"momentum_buffer"}};
    return kStates;
  }
  StepValues values(std::int64_t step) const override {
    return {.step = step, .learning_rate = learning_rate_.at(step)};
  }
  void step(Context& context, const FlatShard& shard) const override {
    check_states(*this, shard);
    sgd_step(context, shard.parameters, shard.states[0], shard.gradients, options_, shard.copies);
  }

 private:
  LearningRate learning_rate_;
  SgdOptions options_;
};

class Adam : public Optimizer {
 public:
  Adam(const LearningRate& learning_rate, const AdamOptions& options)
      : learning_rate_(learning_rate), options_(options) {}

  std::string_view name() const override { return "adam"; }
  std::span<const OptimizerState> states() const override {
    static constexpr OptimizerState kStates[] = {{"exp_avg"}, {"exp_avg_sq"}};
    return kStates;
  }
  StepValues values(std::int64_t step) const override {
    return {.step = step, .adam = adam_rates(learning_rate_.at(step), options_, step + 1)};
  }
  void step(Context& context, const FlatShard& shard) const override {
    check_states(*this, shard);
    adam_step(context, shard.parameters, shard.states[0], shard.states[1], shard.gradients,
              options_, shard.copies);
  }

 private:
  LearningRate learning_rate_;
  AdamOptions options_;
};

}  // namespace

std::shared_ptr<const Optimizer> make_sgd(const LearningRate& learning_rate,
                                          const SgdOptions& options) {
  return std::make_shared<Sgd>(learning_rate, options);
}

std::shared_ptr<const Optimizer> make_adam(const LearningRate& learning_rate,
                                           const AdamOptions& options) {
  return std::make_shared<Adam>(learning_rate, options);
}

}  // namespace stagecoach
