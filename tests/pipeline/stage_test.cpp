#include "pipeline/stage.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/softmax_cross_entropy.h"
#include "tests/pipeline/schedule/table_text.h"
#include "tests/pipeline/small_job.h"

namespace stagecoach {
namespace {

using testing::bytes_of;
using testing::copy_of;
using testing::kMicroBatchRows;
using testing::kSeed;
using testing::random_tensor;
using testing::small_input;
using testing::small_network;
using testing::SmallBatch;

constexpr int kLayers = 12;
constexpr std::int64_t kMicroBatches = 3;

MicroBatch micro_batch(std::int64_t index, bool training = true) {
  return {.seed = kSeed,
          .step = 4,
          .index = index,
          .first_sample = index * kMicroBatchRows,
          .batch = kMicroBatches * kMicroBatchRows,
          .training = training};
}

// Layers [first, end) of the small network as a stage, with its initial weights.
struct StageRun {
  explicit StageRun(int first = 0, int end = kLayers, int slots = 1, int gradient_slots = 1,
                    int optimizer_states = 1, int micro_batches_ = kMicroBatches, int groups = 1,
                    int runs = 1)
      : micro_batches(micro_batches_),
        network(small_network()),
        plans(network.plan(small_input(), 1)),
        context(1) {
    StageOptions options;
    options.first = first;
    options.end = end;
    options.memory = {.slots = slots,
                      .received = slots,
                      .received_gradients = gradient_slots,
                      .gradient_slots = gradient_slots,
                      .outputs = 2,
                      .input_gradients = 2,
                      .micro_batches = micro_batches,
                      .gradient_groups = groups,
                      .runs = runs,
                      .loss_rows = kMicroBatches * kMicroBatchRows,
                      .optimizer_states = optimizer_states};
    stage = std::make_unique<Stage>(network, plans, options, context);
    begin_step(context, {.step = 4});
    stage->initialize(kSeed);
    context.stream().synchronize();
  }
  void wait() { context.stream().synchronize(); }
  void forward(const Tensor& input, const Tensor& targets, const MicroBatch& micro,
               bool keep = true) {
    stage->forward({&input, 1}, targets, micro, keep);
  }
  void backward_input(const Tensor& output_grad, const MicroBatch& micro) {
    stage->backward_input({&output_grad, 1}, micro);
  }

  int micro_batches;
  Network network;
  std::vector<LayerPlan> plans;
  Context context;
  std::unique_ptr<Stage> stage;
};

// The same layers with a tensor of its own for everything, and every operation waited for.
class LayersApart {
 public:
  explicit LayersApart(const StageRun& run)
      : network_(run.network), micro_batches_(run.micro_batches) {
    for (int i = run.stage->first(); i < run.stage->end(); ++i) {
      Values& values = layers_.emplace_back(run.plans[i], i);
      for (std::size_t p = 0; p < run.plans[i].parameters.size(); ++p) {
        const Stage::Parameter& parameter = run.stage->parameters()[parameters_++];
        values.weights.push_back(copy_of(parameter.value));
        values.weight_grads.emplace_back(parameter.value.spec);
      }
    }
  }

  // F, B and W. `output_grad`: undefined at the end of the network, where the loss makes it.
  void run(const Tensor& input, const Tensor& labels, const Tensor& output_grad,
           const MicroBatch& micro) {
    Tensor x = input;
    for (Values& v : layers_) x = forward(v, x, micro);
    OwnedTensor g = output_grad.defined() ? copy_of(output_grad) : loss(x, labels, micro.batch);
    for (auto v = layers_.rbegin(); v != layers_.rend(); ++v) {
      const Tensor fed = v + 1 == layers_.rend() ? input : (v + 1)->output.tensor;
      g = backward(*v, fed, std::move(g), micro);
    }
    input_grad = std::make_unique<OwnedTensor>(std::move(g));
  }

  Tensor output() const { return layers_.back().output.tensor; }
  std::vector<Tensor> weight_grads() const {
    std::vector<Tensor> all;
    for (const Values& v : layers_) {
      for (const OwnedTensor& grad : v.weight_grads) all.push_back(grad.tensor);
    }
    return all;
  }

  std::vector<float> losses;
  std::vector<std::int32_t> correct;
  std::unique_ptr<OwnedTensor> input_grad;

 private:
  struct Values {
    Values(const LayerPlan& layer_plan, int number)
        : plan(layer_plan), index(number), output(plan.outputs[0]) {
      for (const TensorSpec& spec : plan.saved) saved.emplace_back(spec);
      for (const TensorSpec& spec : plan.weight_state) weight_state.emplace_back(spec);
    }
    LayerPlan plan;
    int index;
    OwnedTensor output;
    std::vector<OwnedTensor> saved, weight_state, weights, weight_grads;
  };

  static std::vector<Tensor> views(const std::vector<OwnedTensor>& owned) {
    std::vector<Tensor> result;
    for (const OwnedTensor& one : owned) result.push_back(one.tensor);
    return result;
  }

  // One pass of a layer: pass(layer, context, call), with what all of them get.
  template <typename Pass>
  void call(const Values& v, const MicroBatch& micro, const Tensor& input, const Pass& pass) {
    const std::vector<Tensor> weights = views(v.weights), saved = views(v.saved),
                              grads = views(v.weight_grads);
    std::vector<OwnedTensor> prepared;
    for (const TensorSpec& spec : v.plan.prepared) prepared.emplace_back(spec);
    const std::vector<Tensor> forms = views(prepared);
    const std::vector<Tensor> weight_state = views(v.weight_state);
    LayerCall call;
    call.inputs = {&input, 1};
    call.outputs = {&v.output.tensor, 1};
    call.parameters = weights;
    call.parameter_grads = grads;
    call.saved = saved;
    call.prepared = forms;
    call.micro = micro;
    call.layer = static_cast<std::uint32_t>(v.index);
    call.weight_state = weight_state;
    call.weight_calls = micro.index;
    call.last_weight = micro.index + 1 == micro_batches_;
    testing::run_on_context(1, v.plan.workspace_bytes, [&](Context& context) {
      begin_step(context, {.step = micro.step});
      network_.layer(v.index).prepare(context, v.plan, call);
      pass(network_.layer(v.index), context, call);
    });
  }

  Tensor forward(Values& v, const Tensor& input, const MicroBatch& micro) {
    call(v, micro, input, [&](const Layer& layer, Context& context, const LayerCall& call) {
      layer.forward(context, v.plan, call);
    });
    return v.output.tensor;
  }

  OwnedTensor loss(const Tensor& logits, const Tensor& labels, std::int64_t batch) {
    OwnedTensor grad(logits.spec), losses_of(row_major({labels.elements()})),
        correct_of(row_major({labels.elements()}, DType::kI32));
    testing::run_on_context(1, [&](Context& context) {
      softmax_cross_entropy(context, losses_of.tensor, correct_of.tensor, grad.tensor, logits,
                            labels, 1.0f / static_cast<float>(batch));
    });
    const auto* loss = losses_of.tensor.as<float>();
    const auto* right = correct_of.tensor.as<std::int32_t>();
    losses.insert(losses.end(), loss, loss + labels.elements());
    correct.insert(correct.end(), right, right + labels.elements());
    return grad;
  }

  OwnedTensor backward(Values& v, const Tensor& input, OwnedTensor output_grad,
                       const MicroBatch& micro) {
    OwnedTensor grad(v.plan.inputs[0]);
    call(v, micro, input, [&](const Layer& layer, Context& context, LayerCall call) {
      call.input_grads = {&grad.tensor, 1};
      call.output_grads = {&output_grad.tensor, 1};
      layer.backward_input(context, v.plan, call);
      layer.backward_weight(context, v.plan, call);
    });
    return grad;
  }

  const Network& network_;
  int micro_batches_;
  std::size_t parameters_ = 0;
  std::vector<Values> layers_;
};

void expect_same_gradients(const Stage& stage, const LayersApart& apart) {
  const std::vector<Tensor> expected = apart.weight_grads();
  ASSERT_EQ(stage.parameters().size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(bytes_of(stage.parameters()[i].grad), bytes_of(expected[i]))
        << stage.parameters()[i].name;
  }
}

TEST(Stage, WholeNetworkGivesTheBytesOfItsLayersApart) {
  StageRun run;
  const SmallBatch batch(kMicroBatches, 3);
  LayersApart apart(run);
  for (std::int64_t m = 0; m < kMicroBatches; ++m) {
    const Tensor images = rows_of(batch.images.tensor, m * kMicroBatchRows, kMicroBatchRows);
    const Tensor labels = rows_of(batch.labels.tensor, m * kMicroBatchRows, kMicroBatchRows);
    run.forward(images, labels, micro_batch(m));
    run.stage->backward_input({}, micro_batch(m));
    run.stage->backward_weight(micro_batch(m));
    apart.run(images, labels, {}, micro_batch(m));
  }
  run.wait();
  expect_same_gradients(*run.stage, apart);
  for (std::size_t i = 0; i < apart.losses.size(); ++i) {
    EXPECT_EQ(run.stage->losses().as<float>()[i], apart.losses[i]);
    EXPECT_EQ(run.stage->correct().as<std::int32_t>()[i], apart.correct[i]);
  }
  EXPECT_TRUE(run.stage->input_grads(0).empty());
}

// F of all micro-batches, then B of all, then W of all: no slot disturbs another. The neighbours'
// tensors stay as they are.
// Not negative, as the layer before a ReLU has applied it.
OwnedTensor random_activation(const TensorSpec& spec, std::uint64_t seed) {
  OwnedTensor result = random_tensor(spec, seed);
  float* values = result.tensor.as<float>();
  for (std::int64_t i = 0; i < result.tensor.elements(); ++i) values[i] = std::abs(values[i]);
  return result;
}

TEST(Stage, MiddleOfTheNetworkWithMicroBatchesInFlight) {
  for (const auto& [first, end] : std::vector<std::pair<int, int>>{
           {1, 3}, {3, 9}, {5, 6}, {1, 11}, {9, 11}, {2, 10}, {3, 4}}) {
    SCOPED_TRACE(fmt::format("layers {} to {}", first, end - 1));
    StageRun run(first, end, 2, 2, 1, 2);
    LayersApart apart(run);
    std::vector<OwnedTensor> inputs, output_grads;
    std::vector<testing::Bytes> expected_input_grads;
    for (std::int64_t m = 0; m < 2; ++m) {
      inputs.push_back(
          random_activation(run.plans[first].inputs[0], static_cast<std::uint64_t>(m)));
      output_grads.push_back(
          random_tensor(run.plans[end - 1].outputs[0], static_cast<std::uint64_t>(m + 10)));
      run.forward(inputs.back().tensor, {}, micro_batch(m));
    }
    for (std::int64_t m = 0; m < 2; ++m) {
      apart.run(inputs[m].tensor, {}, output_grads[m].tensor, micro_batch(m));
      run.wait();
      EXPECT_EQ(bytes_of(run.stage->outputs(m)[0]), bytes_of(apart.output()));
      expected_input_grads.push_back(bytes_of(apart.input_grad->tensor));
    }
    for (std::int64_t m = 0; m < 2; ++m) {
      run.backward_input(output_grads[m].tensor, micro_batch(m));
    }
    for (std::int64_t m = 0; m < 2; ++m) run.stage->backward_weight(micro_batch(m));
    run.wait();
    expect_same_gradients(*run.stage, apart);
    for (std::uint64_t m = 0; m < 2; ++m) {
      const auto micro = static_cast<std::int64_t>(m);
      EXPECT_EQ(bytes_of(run.stage->input_grads(micro)[0]), expected_input_grads[m]);
      EXPECT_EQ(bytes_of(inputs[m].tensor),
                bytes_of(random_activation(run.plans[first].inputs[0], m).tensor));
      EXPECT_EQ(bytes_of(output_grads[m].tensor),
                bytes_of(random_tensor(run.plans[end - 1].outputs[0], m + 10).tensor));
    }
    EXPECT_EQ(run.stage->arena().peak_bytes(), run.stage->memory_plan().arena.bytes());
  }
}

// F, B and W of eight micro-batches in `order`, with four groups of gradients.
std::vector<testing::Bytes> gradients_in_order(int runs, const std::vector<int>& order) {
  StageRun run(3, 9, 1, 1, 1, 8, 4, runs);
  std::vector<OwnedTensor> inputs, output_grads;
  for (std::uint64_t m = 0; m < 8; ++m) {
    inputs.push_back(random_activation(run.plans[3].inputs[0], m));
    output_grads.push_back(random_tensor(run.plans[8].outputs[0], m + 10));
  }
  // A second step begins anew.
  for (int step = 0; step < 2; ++step) {
    run.stage->begin_step();
    for (const int m : order) {
      EXPECT_FALSE(run.stage->has_all_gradients());
      run.forward(inputs[m].tensor, {}, micro_batch(m));
      run.backward_input(output_grads[m].tensor, micro_batch(m));
      run.stage->backward_weight(micro_batch(m));
    }
    EXPECT_TRUE(run.stage->has_all_gradients());
    run.wait();
  }
  std::vector<testing::Bytes> bytes;
  for (const Stage::Parameter& parameter : run.stage->parameters()) {
    bytes.push_back(bytes_of(parameter.grad));
  }
  return bytes;
}

TEST(Stage, RunsOfMicroBatchesTakeTurnsWithTheSameBits) {
  const std::vector<testing::Bytes> expected = gradients_in_order(1, {0, 1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(gradients_in_order(2, {0, 4, 1, 5, 2, 6, 3, 7}), expected);
  EXPECT_EQ(gradients_in_order(2, {4, 5, 0, 6, 1, 2, 7, 3}), expected);
  EXPECT_EQ(gradients_in_order(4, {0, 2, 4, 6, 1, 3, 5, 7}), expected);
  EXPECT_EQ(gradients_in_order(4, {6, 7, 4, 2, 0, 1, 3, 5}), expected);
  // A run for each group: its sum, one for each further one, and what layers keep of it.
  const auto bytes = [](int runs) {
    return StageRun(3, 9, 1, 1, 1, 8, 4, runs).stage->memory_plan().arena.bytes();
  };
  EXPECT_LT(bytes(1), bytes(4));
}

TEST(Stage, RefusesAnotherOrderWithinARunAndGroupsThatRunsCut) {
  StageRun run(3, 9, 2, 2, 1, 8, 4, 2);
  const OwnedTensor input = random_tensor(run.plans[3].inputs[0], 0);
  const OwnedTensor grad = random_tensor(run.plans[8].outputs[0], 0);
  for (const int m : {4, 5}) {
    run.forward(input.tensor, {}, micro_batch(m));
    run.backward_input(grad.tensor, micro_batch(m));
  }
  EXPECT_EQ(error_of([&] { run.stage->backward_weight(micro_batch(5)); }),
            "Stage::backward_weight: expected W of micro-batch 4, as gradients are added in one "
            "order, got that of 5");
  run.wait();
  EXPECT_EQ(error_of([] { StageRun(3, 9, 1, 1, 1, 8, 4, 8); }),
            "gradient groups: expected whole groups in each of 8 runs of micro-batches, got 4 "
            "groups of 8 micro-batches");
}

TEST(Stage, ParametersAreThoseOfItsLayers) {
  const StageRun run(3, 9);
  std::vector<std::string> names;
  for (const Stage::Parameter& parameter : run.stage->parameters()) names.push_back(parameter.name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"conv2.weight", "conv2.bias", "fc1.weight", "fc1.bias"}));
  EXPECT_EQ(run.stage->parameter_count(), 6 * 4 * 9 + 6 + 54 * 21 + 21);
  EXPECT_FALSE(run.stage->is_first() || run.stage->is_last());
  EXPECT_FALSE(run.stage->losses().defined() || run.stage->correct().defined());
  EXPECT_EQ(StageRun(1, 4).stage->parameter_count(), 0);
}

// Parameter i of the whole network draws from stream i, wherever it is.
TEST(Stage, InitialWeightsAreThoseOfTheNetwork) {
  const StageRun run(4, 9);
  const auto named = parameters_of(run.network, run.plans);
  for (std::size_t i = 0; i < run.stage->parameters().size(); ++i) {
    const std::size_t index = i + 2;  // after conv1's
    const Stage::Parameter& parameter = run.stage->parameters()[i];
    ASSERT_EQ(parameter.name, named[index].name);
    OwnedTensor expected(named[index].spec.spec);
    testing::run_on_context(1, [&](Context& context) {
      fill_uniform(context, expected.tensor, named[index].spec.init.a,
                   {.seed = kSeed,
                    .use = RandomUse::kInitialWeights,
                    .layer = static_cast<std::uint32_t>(index)});
    });
    EXPECT_EQ(bytes_of(parameter.value), bytes_of(expected.tensor)) << parameter.name;
  }
}

// Both optimizers, two steps each, against steps of every parameter by itself.
TEST(Stage, OptimizerMovesEveryParameterByItsGradient) {
  const auto flat = [](Tensor tensor) {
    tensor.spec = row_major({tensor.elements()});
    return tensor;
  };
  for (const auto& optimizer : {testing::small_sgd(), testing::small_adam()}) {
    const auto states = optimizer->states().size();
    StageRun run(4, 9, 1, 1, static_cast<int>(states));
    std::vector<OwnedTensor> expected;
    for (const Stage::Parameter& parameter : run.stage->parameters()) {
      testing::fill_random(parameter.grad, 1);
      expected.push_back(copy_of(parameter.value));
      const OwnedTensor first(parameter.value.spec), second(parameter.value.spec);
      FlatShard shard{flat(expected.back().tensor), flat(parameter.grad), {flat(first.tensor)}, {}};
      if (states == 2) shard.states.push_back(flat(second.tensor));
      testing::run_on_context(1, [&](Context& context) {
        for (int step = 0; step < 2; ++step) {
          begin_step(context, optimizer->values(step));
          optimizer->step(context, shard);
        }
      });
    }
    for (int step = 0; step < 2; ++step) {
      begin_step(run.context, optimizer->values(step));
      run.stage->flat().step(*optimizer);
    }
    run.wait();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(bytes_of(run.stage->parameters()[i].value), bytes_of(expected[i].tensor));
    }
  }
  StageRun run(4, 9);
  EXPECT_EQ(error_of([&] { run.stage->flat().step(*testing::small_adam()); }),
            "adam: expected 2 states, got 1");
}

TEST(Stage, RefusesASlotThatIsInUse) {
  StageRun run(3, 9, 2, 1);
  const OwnedTensor input = random_tensor(run.plans[3].inputs[0], 0);
  const OwnedTensor grad = random_tensor(run.plans[8].outputs[0], 0);
  run.forward(input.tensor, {}, micro_batch(0));
  run.forward(input.tensor, {}, micro_batch(1));
  EXPECT_EQ(error_of([&] { run.forward(input.tensor, {}, micro_batch(2)); }),
            "a step: expected a free input of layers 3 - 8 for micro-batch 2, got all 2 in use");
  EXPECT_EQ(error_of([&] { run.backward_input(grad.tensor, micro_batch(2)); }),
            "Stage::backward_input: expected one B after F, got that of micro-batch 2");
  run.backward_input(grad.tensor, micro_batch(0));
  EXPECT_EQ(error_of([&] { run.backward_input(grad.tensor, micro_batch(1)); }),
            "a step: expected a free gradient slot of layers 3 - 8 for micro-batch 1, got all 1 in "
            "use");
  run.stage->backward_weight(micro_batch(0));
  run.forward(input.tensor, {}, micro_batch(2));
  run.wait();
  // Evaluation gives the slot back by itself.
  StageRun evaluation(3, 9);
  for (std::int64_t m = 0; m < 3; ++m) {
    evaluation.forward(input.tensor, {}, micro_batch(m, false));
  }
  evaluation.wait();
}

TEST(Stage, RefusesActionsInAnotherOrder) {
  StageRun run(3, 9, 2, 2, 1, 1);
  const OwnedTensor input = random_tensor(run.plans[3].inputs[0], 0);
  const OwnedTensor grad = random_tensor(run.plans[8].outputs[0], 0);
  Stage& stage = *run.stage;
  EXPECT_NE(error_of([&] { stage.recompute(micro_batch(0)); }), "");
  run.forward(input.tensor, {}, micro_batch(0), false);
  EXPECT_NE(error_of([&] { run.forward(input.tensor, {}, micro_batch(0)); }), "");
  stage.recompute(micro_batch(0));
  EXPECT_NE(error_of([&] { stage.recompute(micro_batch(0)); }), "");
  EXPECT_TRUE(stage.has_output(0));
  EXPECT_FALSE(stage.has_input_grad(0));
  run.backward_input(grad.tensor, micro_batch(0));
  EXPECT_TRUE(stage.has_input_grad(0));
  EXPECT_NE(error_of([&] { run.backward_input(grad.tensor, micro_batch(0)); }), "");
  stage.backward_weight(micro_batch(0));
  EXPECT_NE(error_of([&] { stage.backward_weight(micro_batch(0)); }), "");
  EXPECT_TRUE(stage.has_all_gradients());
  run.wait();
  stage.begin_step();
  EXPECT_FALSE(stage.has_all_gradients());
  EXPECT_FALSE(stage.has_output(0));
}

TEST(Stage, RefusesTensorsThatDoNotFit) {
  StageRun run(8, 9);
  const OwnedTensor wrong(row_major({2, 54})), right(row_major({kMicroBatchRows, 54}));
  EXPECT_EQ(error_of([&] { run.forward(wrong.tensor, {}, micro_batch(0)); }),
            "Stage::forward: expected input F32 [3, 54], got F32 [2, 54]");
  run.forward(right.tensor, {}, micro_batch(0));  // the slot was not taken
  EXPECT_EQ(error_of([&] { run.backward_input(wrong.tensor, micro_batch(0)); }),
            "Stage::backward_input: expected output_grad F32 [3, 21], got F32 [2, 54]");
  EXPECT_EQ(error_of([&] { run.backward_input({}, micro_batch(0)); }),
            "Stage::backward_input: expected output_grad F32 [3, 21], got no memory");
  EXPECT_EQ(error_of([&] { run.stage->backward_input({}, micro_batch(0)); }),
            "Stage::backward_input: expected 1 x output gradient, got 0");
  run.wait();
}

// In a step of its own.
int first_nonfinite(StageRun& run, const Tensor& input) {
  run.stage->begin_step();
  return run.stage->first_nonfinite_layer({&input, 1}, micro_batch(0));
}

TEST(Stage, NamesTheFirstLayerThatIsNotFinite) {
  StageRun run(3, 11);
  const OwnedTensor input = random_tensor(run.plans[3].inputs[0], 0);
  EXPECT_EQ(first_nonfinite(run, input.tensor), -1);
  run.stage->parameters()[3].value.as<float>()[0] = std::numeric_limits<float>::infinity();
  ASSERT_EQ(run.stage->parameters()[3].name, "fc1.bias");
  EXPECT_EQ(first_nonfinite(run, input.tensor), 8);
  run.stage->parameters()[0].value.as<float>()[0] = std::nanf("");
  EXPECT_EQ(first_nonfinite(run, input.tensor), 4);
}

}  // namespace
}  // namespace stagecoach
