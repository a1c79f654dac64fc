// What every layer must keep to, whatever it computes.
#include "layers/layer.h"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <ostream>

#include "layers/layers.h"
#include "tests/kernels/checks.h"
#include "tests/layers/layer_run.h"

namespace stagecoach {
namespace {

using testing::bytes_of;
using testing::expect_error;
using testing::expect_same_bytes_everywhere;
using testing::LayerRun;

struct Case {
  const char* name;
  std::function<std::shared_ptr<const Layer>()> make;
  TensorSpec input;
  // Of the finite differences: wide for linear functions, where only rounding counts; for the
  // others below the distance of the values that fill_apart() gives.
  float step;
  double tolerance = 1e-4;
  bool in_evaluation = true;  // has gradients there, too
  int inputs = 1;
};

void PrintTo(const Case& one, std::ostream* stream) {
  *stream << one.name;
}

constexpr float kWide = 0.25f, kNarrow = 1.0f / 1024;

std::vector<Case> cases() {
  return {
      {"Conv2d",
       [] {
         return conv2d_layer(3, 4, 3, {2, 1, 1, 0});
       },
       channels_last(2, 3, 7, 5), kWide},
      {"Linear", [] { return linear_layer(13, 5); }, row_major({3, 13}), kWide},
      {"Relu", relu_layer, channels_last(2, 3, 4, 5), kNarrow},
      {"ReluOfRank2", relu_layer, row_major({3, 13}), kNarrow},
      {"MaxPool2d",
       [] {
         return max_pool2d_layer({3, 3, 2, 2, 1, 0});
       },
       channels_last(2, 4, 7, 8), kNarrow},
      {"AdaptiveAvgPool2d", [] { return adaptive_avg_pool2d_layer(3, 2); },
       channels_last(2, 3, 7, 5), kWide},
      {"Flatten", flatten_layer, channels_last(2, 3, 4, 5), kWide},
      {"Dropout", [] { return dropout_layer(0.3f); }, channels_last(2, 3, 4, 5), kWide},
      {"DropoutOfRank2", [] { return dropout_layer(0.3f); }, row_major({3, 13}), kWide},
      {"BatchNorm2d", [] { return batch_norm2d_layer(3); }, channels_last(2, 3, 4, 5), kNarrow * 4,
       2e-3, false},
      {"Add", add_layer, channels_last(2, 3, 4, 5), kWide, 1e-4, true, 2},
  };
}

// All values at least 1/256 apart and 1/512 from zero, in no order; exact, with few bits.
void fill_apart(const Tensor& tensor) {
  const std::int64_t count = tensor.elements();
  ASSERT_NE(count % 37, 0);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t place = i * 37 % count;
    tensor.as<float>()[i] = static_cast<float>(2 * (place - count / 2) + 1) / 512.0f;
  }
}

// sum(y * g): its gradient with respect to x is dx, and likewise for the parameters.
double objective(LayerRun& run, const MicroBatch& micro) {
  run.forward(micro);
  double sum = 0.0;
  for (std::int64_t i = 0; i < run.y.tensor.elements(); ++i) {
    sum += static_cast<double>(run.y.tensor.as<float>()[i]) * run.g.tensor.as<float>()[i];
  }
  return sum;
}

void expect_gradient(LayerRun& run, const MicroBatch& micro, const Tensor& variable,
                     const Tensor& gradient, const Case& one, const std::string& name) {
  const float step = one.step;
  float* values = variable.as<float>();
  for (std::int64_t i = 0; i < variable.elements(); ++i) {
    const float middle = values[i];
    values[i] = middle + step;
    const double above = objective(run, micro);
    values[i] = middle - step;
    const double below = objective(run, micro);
    values[i] = middle;
    ASSERT_NEAR(gradient.as<float>()[i], (above - below) / (2.0 * step), one.tolerance)
        << name << i;
  }
}

class LayerTest : public ::testing::TestWithParam<Case> {};
class InPlaceTest : public LayerTest {};
class ParametersTest : public LayerTest {};

TEST_P(LayerTest, GradientsAgreeWithFiniteDifferences) {
  for (const bool training : {true, false}) {
    const MicroBatch micro{
        .seed = 3, .step = 5, .index = 1, .first_sample = 12, .training = training};
    if (!training && !GetParam().in_evaluation) continue;
    LayerRun run(GetParam().make(), GetParam().input, 2, false, 1, GetParam().inputs);
    fill_apart(run.x.tensor);
    run.run(micro);
    const OwnedTensor dx = testing::copy_of(run.dx.tensor);
    expect_gradient(run, micro, run.x.tensor, dx.tensor, GetParam(), "input ");
    for (std::size_t i = 0; i < run.parameters.size(); ++i) {
      expect_gradient(run, micro, run.parameters[i].tensor, run.parameter_grads[i].tensor,
                      GetParam(), run.plan.parameters[i].name + " ");
    }
  }
}

TEST_P(InPlaceTest, GivesTheSameBytesAsApart) {
  const std::shared_ptr<const Layer> layer = GetParam().make();
  LayerRun apart(layer, GetParam().input);
  EXPECT_EQ(apart.plan.outputs, apart.plan.inputs);
  for (const bool training : {true, false}) {
    LayerRun within(layer, GetParam().input, 2, /*run_in_place=*/true);
    apart.run({.training = training});
    within.run({.training = training});
    EXPECT_EQ(within.bytes(), apart.bytes());
  }
}

// F of three micro-batches, then B and W in another order than F: as one after another.
TEST_P(LayerTest, MicroBatchesInFlightDoNotMix) {
  const std::shared_ptr<const Layer> layer = GetParam().make();
  const auto micro = [](int i) { return MicroBatch{.index = i, .first_sample = 2 * i}; };
  std::vector<LayerRun> flying, single;
  for (std::uint64_t i = 0; i < 3; ++i) {
    flying.emplace_back(layer, GetParam().input, 2, false, 10 + i, GetParam().inputs);
    single.emplace_back(layer, GetParam().input, 2, false, 10 + i, GetParam().inputs);
  }
  const auto backward = [&](std::vector<LayerRun>& runs, int i) {
    runs[i].backward(runs[0], micro(i), (i + 2) % 3, i == 0);
  };
  for (int i = 0; i < 3; ++i) flying[i].forward(micro(i));
  for (const int i : {1, 2, 0}) backward(flying, i);
  for (const int i : {1, 2, 0}) {
    single[i].forward(micro(i));
    backward(single, i);
  }
  for (int i = 0; i < 3; ++i) EXPECT_EQ(flying[i].bytes(), single[i].bytes()) << i;
  EXPECT_NE(flying[0].bytes(), flying[1].bytes());
}

TEST_P(ParametersTest, AddUpTheGradientsOfMicroBatches) {
  const std::shared_ptr<const Layer> layer = GetParam().make();
  LayerRun first(layer, GetParam().input, 2, false, 10);
  LayerRun second(layer, GetParam().input, 2, false, 11);
  LayerRun sum(layer, GetParam().input, 2, false, 10);
  first.run();
  second.run();
  sum.forward();
  sum.backward(sum, {}, 0, false);
  second.forward();
  second.backward(sum, {}, 1);
  for (std::size_t k = 0; k < sum.parameters.size(); ++k) {
    const Tensor &a = first.parameter_grads[k].tensor, &b = second.parameter_grads[k].tensor;
    for (std::int64_t i = 0; i < a.elements(); ++i) {
      ASSERT_NEAR(sum.parameter_grads[k].tensor.as<float>()[i], a.as<float>()[i] + b.as<float>()[i],
                  1e-5)
          << k << ", " << i;
    }
  }
}

TEST_P(LayerTest, GivesTheSameBytesEverywhere) {
  expect_same_bytes_everywhere([](int threads) {
    LayerRun run(GetParam().make(), GetParam().input, threads, false, 1, GetParam().inputs);
    run.run();
    return run.bytes();
  });
}

std::vector<Case> cases_with(const std::function<bool(const LayerPlan&)>& property) {
  std::vector<Case> result;
  for (const Case& one : cases()) {
    if (property(one.make()->plan(
            std::vector<TensorSpec>(static_cast<std::size_t>(one.inputs), one.input), 1)))
      result.push_back(one);
  }
  return result;
}

std::string name_of(const ::testing::TestParamInfo<Case>& test) {
  return test.param.name;
}

INSTANTIATE_TEST_SUITE_P(Of, LayerTest, ::testing::ValuesIn(cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Of, InPlaceTest, ::testing::ValuesIn(cases_with([](const LayerPlan& plan) {
                           return plan.in_place;
                         })),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Of, ParametersTest,
                         ::testing::ValuesIn(cases_with([](const LayerPlan& plan) {
                           return !plan.parameters.empty();
                         })),
                         name_of);

// Has one of everything, or two, and remembers what was called.
class Everything final : public Layer {
 public:
  std::string describe() const override { return "Everything()"; }
  LayerPlan plan(std::span<const TensorSpec> inputs, const Target&) const override {
    LayerPlan plan;
    plan.inputs = {inputs.begin(), inputs.end()};
    plan.outputs = {row_major({2, 4}, inputs[0].dtype), row_major({5})};
    plan.parameters = {{"weight", row_major({6}), Init::constant(0)}};
    plan.buffers = {{"running", row_major({7}), Init::constant(0)}};
    plan.saved = {row_major({8})};
    plan.step_state = {row_major({9})};
    plan.inputs_needed_by_input = plan.inputs_needed_by_weight = true;
    plan.outputs_needed_by_input = true;
    return plan;
  }
  mutable std::string called;

 protected:
  void forward_impl(Context&, const LayerPlan&, const LayerCall&) const override { called += "F"; }
  void backward_input_impl(Context&, const LayerPlan&, const LayerCall&) const override {
    called += "B";
  }
  void backward_weight_impl(Context&, const LayerPlan&, const LayerCall&) const override {
    called += "W";
  }
  void end_step_impl(Context&, const LayerPlan&, const LayerCall&) const override { called += "E"; }
};

using Pass = void (Layer::*)(Context&, const LayerPlan&, const LayerCall&) const;

// A call of Everything() with all its tensors; those of one list can be changed before it is made.
struct EverythingCall {
  explicit EverythingCall(DType dtype = DType::kF32) {
    const std::vector<TensorSpec> specs = {row_major({2, 3}, dtype), row_major({2, 2})};
    plan = layer.plan(specs, 1);
    TensorSpec weight = plan.parameters[0].spec;
    weight.dtype = dtype;
    inputs = make(plan.inputs);
    input_grads = make(plan.inputs);
    outputs = make(plan.outputs);
    output_grads = make(plan.outputs);
    parameters = make({weight});
    parameter_grads = make({plan.parameters[0].spec});
    buffers = make({plan.buffers[0].spec});
    saved = make(plan.saved);
    step_state = make(plan.step_state);
    stacked = make({row_major({3, 9})});
  }

  void run(Pass pass, MicroBatch micro = {}, bool recompute = false) const {
    LayerCall call;
    call.inputs = inputs;
    call.outputs = outputs;
    call.input_grads = input_grads;
    call.output_grads = output_grads;
    call.parameters = parameters;
    call.parameter_grads = parameter_grads;
    call.saved = saved;
    call.buffers = buffers;
    call.step_state = pass == &Layer::end_step ? stacked : step_state;
    call.micro = micro;
    call.recompute = recompute;
    Context context(1);
    (layer.*pass)(context, plan, call);
  }

  Everything layer;
  LayerPlan plan;
  std::vector<Tensor> inputs, outputs, input_grads, output_grads, parameters, parameter_grads;
  std::vector<Tensor> buffers, saved, step_state, stacked;

 private:
  std::vector<Tensor> make(const std::vector<TensorSpec>& specs) {
    std::vector<Tensor> tensors;
    for (const TensorSpec& spec : specs) tensors.push_back(owned_.emplace_back(spec).tensor);
    return tensors;
  }
  std::deque<OwnedTensor> owned_;
};

// One list of tensors of a call, and the passes that read or write it.
struct Checked {
  const char* name;
  std::vector<Tensor> EverythingCall::*tensors;
  std::vector<Pass> passes;
};

std::vector<Checked> checked_tensors() {
  using E = EverythingCall;
  const Pass f = &Layer::forward, b = &Layer::backward_input, w = &Layer::backward_weight;
  const Pass e = &Layer::end_step;
  return {{"inputs", &E::inputs, {f, b, w}},      {"outputs", &E::outputs, {f, b}},
          {"input_grads", &E::input_grads, {b}},  {"output_grads", &E::output_grads, {b, w}},
          {"parameters", &E::parameters, {f, b}}, {"parameter_grads", &E::parameter_grads, {w}},
          {"saved", &E::saved, {f, b, w}},        {"buffers", &E::buffers, {f, e}},
          {"step_state", &E::step_state, {f}},    {"step_state", &E::stacked, {e}}};
}

TEST(LayerCall, EveryTensorIsCheckedBeforeALayerIsAsked) {
  for (const auto& [name, tensors, passes] : checked_tensors()) {
    for (const Pass pass : passes) {
      EverythingCall call;
      std::vector<Tensor>& list = call.*tensors;
      const Tensor good = list.back();
      const std::string last = fmt::format("{}[{}]", name, list.size() - 1);
      list.back().spec = row_major({11});
      expect_error([&] { call.run(pass); }, {"Everything()", last.c_str(), "got F32 [11]"});
      list.back() = good;
      list.back().device = {DeviceType::kCuda, 0};
      expect_error([&] { call.run(pass); }, {"Everything()", last.c_str(), "on cuda:0"});
      list.push_back(good);
      expect_error([&] { call.run(pass); },
                   {"Everything()", name, fmt::format("got {}", list.size()).c_str()});
      EXPECT_EQ(call.layer.called, "");
    }
  }
}

TEST(LayerCall, PassesGoThroughWithWhatTheyNeed) {
  EverythingCall call;
  call.run(&Layer::forward);
  call.run(&Layer::backward_input);
  call.run(&Layer::backward_weight);
  call.run(&Layer::end_step);
  EXPECT_EQ(call.layer.called, "FBWE");
  call.step_state.clear();  // left out of a second F, and where nothing is learned
  call.run(&Layer::forward, {}, true);
  call.run(&Layer::forward, {.training = false});
  call.plan.inputs_needed_by_input = call.plan.outputs_needed_by_input = false;
  call.plan.inputs_needed_by_weight = false;
  call.inputs.clear();
  call.outputs.clear();
  call.run(&Layer::backward_input);
  call.run(&Layer::backward_weight);
  EXPECT_EQ(call.layer.called, "FBWEFFBW");
}

TEST(LayerCall, NobodyNeedsTheGradientOfAnInputWithoutMemory) {
  EverythingCall call;
  call.input_grads[0] = {};
  call.run(&Layer::backward_input);
  EXPECT_EQ(call.layer.called, "B");
  call.input_grads[1] = {};
  call.run(&Layer::backward_input);  // nothing to do
  EXPECT_EQ(call.layer.called, "B");
}

// Parameters in the dtype of the inputs, gradients and state in F32.
TEST(LayerCall, ComputesInTheDtypeOfItsInputs) {
  EverythingCall call(DType::kBF16);
  call.run(&Layer::forward);
  call.run(&Layer::backward_weight);
  EXPECT_EQ(call.layer.called, "FW");
  call.parameters = call.parameter_grads;
  expect_error([&] { call.run(&Layer::forward); },
               {"Everything(): expected parameters[0] BF16 [6] on cpu", "got F32 [6] on cpu"});
}

}  // namespace
}  // namespace stagecoach
