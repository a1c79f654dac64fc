#include "pipeline/memory_plan.h"

#include <random>
#include <set>

#include "layers/network.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/generators.h"
#include "tests/pipeline/plan_replay.h"
#include "tests/pipeline/schedule/table_text.h"

namespace stagecoach {
namespace {

using testing::PlanReplay;

constexpr std::int64_t kSize = 1000;  // elements of a tensor; no multiple of the alignment

// A layer from one tensor to another of the same size, as the fields say.
struct Flags {
  bool in_place = false, parameters = false, needs_input = false, needs_output = false;
  int saved = 0;
};
constexpr Flags kConvolution{.parameters = true, .needs_input = true};
constexpr Flags kRelu{.in_place = true, .needs_output = true};
constexpr Flags kDropout{.in_place = true};
constexpr Flags kPool{.saved = 1};

LayerPlan layer(const Flags& flags, std::int64_t from = kSize, std::int64_t to = kSize) {
  LayerPlan plan;
  plan.input = channels_last(1, 1, from, 1);
  plan.output = channels_last(1, 1, to, 1);
  plan.in_place = flags.in_place;
  plan.input_needed_by_weight = flags.needs_input;
  plan.output_needed_by_input = flags.needs_output;
  plan.workspace_bytes = from;
  if (flags.parameters) {
    plan.parameters = {{"weight", row_major({from}), 1.0f}, {"bias", row_major({3}), 1.0f}};
  }
  for (int i = 0; i < flags.saved; ++i) plan.saved.push_back(row_major({to + i}, DType::kU8));
  return plan;
}

std::vector<LayerPlan> layers(const std::vector<Flags>& list) {
  std::vector<LayerPlan> plans;
  for (const Flags& flags : list) plans.push_back(layer(flags));
  return plans;
}

StageMemory whole() {
  return {.loss_rows = 6, .optimizer_states = 1};
}
StageMemory between(bool previous, bool next) {
  StageMemory memory = whole();
  memory.has_previous = previous;
  memory.has_next = next;
  return memory;
}

bool same_place(const Place& a, const Place& b) {
  return a.region == b.region && a.offset == b.offset;
}

const Region& region(const MemoryPlan& plan, int number) {
  return plan.arena.regions().at(number);
}

void expect_aligned(const MemoryPlan& plan) {
  std::int64_t end = 0;
  for (const Region& one : plan.arena.regions()) {
    EXPECT_EQ(one.offset, end) << one.name;
    EXPECT_EQ(one.offset % Buffer::kAlignment, 0) << one.name;
    EXPECT_EQ(one.bytes % Buffer::kAlignment, 0) << one.name;
    end += one.bytes * one.count;
  }
  EXPECT_EQ(plan.arena.bytes(), end);
}

// The parameters of all layers beside each other, and nothing else.
void expect_parameters(const std::vector<LayerPlan>& layers, const MemoryPlan& plan) {
  std::int64_t end = 0;
  ASSERT_EQ(plan.parameter.size(), layers.size());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    ASSERT_EQ(plan.parameter[i].size(), layers[i].parameters.size());
    for (std::size_t p = 0; p < plan.parameter[i].size(); ++p) {
      const Place& place = plan.parameter[i][p];
      EXPECT_EQ(place.spec, layers[i].parameters[p].spec);
      EXPECT_EQ(place.region, plan.parameters);
      EXPECT_EQ(place.offset % Buffer::kAlignment, 0);
      EXPECT_GE(place.offset, end);
      EXPECT_LT(place.offset, end + Buffer::kAlignment);
      end = place.offset + place.spec.bytes();
    }
  }
  EXPECT_LE(end, plan.flat.bytes());
  std::vector<int> like = plan.optimizer_states;
  like.insert(like.end(), {plan.parameters, plan.gradients});
  for (const int number : like) EXPECT_EQ(region(plan, number).bytes, plan.flat.bytes());
  EXPECT_EQ(std::set<int>(like.begin(), like.end()).size(), like.size());
}

MemoryPlan expect_sound(const std::vector<LayerPlan>& layers, const StageMemory& stage) {
  MemoryPlan plan = plan_memory(layers, stage);
  PlanReplay(layers, stage, plan).run();
  expect_aligned(plan);
  expect_parameters(layers, plan);
  EXPECT_EQ(region(plan, plan.slots).count, stage.slots);
  EXPECT_EQ(region(plan, plan.gradient_slots).count, stage.gradient_slots);
  EXPECT_EQ(static_cast<int>(plan.optimizer_states.size()), stage.optimizer_states);
  if (stage.has_previous) {
    EXPECT_EQ(region(plan, plan.input_gradients).count, stage.input_gradients);
  }
  if (!stage.has_next) {
    EXPECT_EQ(plan.losses->spec, row_major({stage.loss_rows}));
    EXPECT_EQ(plan.correct->spec, row_major({stage.loss_rows}, DType::kI32));
    EXPECT_NE(plan.losses->region, plan.correct->region);
  }
  return plan;
}

// Every way to cut out a stage: first, middle, last and single ones.
template <typename Visit>
void for_each_cut(const std::vector<LayerPlan>& network, const Visit& visit) {
  for (std::size_t first = 0; first < network.size(); ++first) {
    for (std::size_t end = first + 1; end <= network.size(); ++end) {
      const std::vector<LayerPlan> own(network.begin() + static_cast<std::ptrdiff_t>(first),
                                       network.begin() + static_cast<std::ptrdiff_t>(end));
      SCOPED_TRACE(fmt::format("layers {} to {}", first, end - 1));
      visit(own, between(first > 0, end < network.size()));
      if (::testing::Test::HasFailure()) return;
    }
  }
}

TEST(MemoryPlan, ReluWorksInPlaceBetweenOthers) {
  const auto list = layers({kConvolution, kRelu, kPool, kConvolution, kRelu, kConvolution});
  const MemoryPlan plan = expect_sound(list, whole());
  EXPECT_TRUE(same_place(plan.output[0], plan.output[1]));
  EXPECT_TRUE(same_place(plan.output[3], plan.output[4]));
  EXPECT_FALSE(same_place(plan.output[1], plan.output[2]));
  EXPECT_TRUE(same_place(*plan.output_grad[0], *plan.output_grad[1]));
  EXPECT_TRUE(same_place(*plan.output_grad[3], *plan.output_grad[4]));
  EXPECT_FALSE(same_place(*plan.output_grad[1], *plan.output_grad[2]));
}

TEST(MemoryPlan, NobodyOverwritesWhatTheLayerBeforeNeeds) {
  const MemoryPlan plan = expect_sound(layers({kConvolution, kRelu, kDropout, kDropout}), whole());
  EXPECT_TRUE(same_place(plan.output[0], plan.output[1]));
  EXPECT_FALSE(same_place(plan.output[1], plan.output[2]));
  EXPECT_TRUE(same_place(plan.output[2], plan.output[3]));
  // Gradients may: nobody needs them again.
  EXPECT_TRUE(same_place(*plan.output_grad[0], *plan.output_grad[1]));
  EXPECT_TRUE(same_place(*plan.output_grad[1], *plan.output_grad[2]));
}

TEST(MemoryPlan, WithAnInputForTheWeightsNothingIsInPlace) {
  const Flags prelu{.in_place = true, .parameters = true, .needs_input = true};
  const MemoryPlan plan = expect_sound(layers({kConvolution, prelu, kConvolution}), whole());
  EXPECT_FALSE(same_place(plan.output[0], plan.output[1]));
  // Its W comes after its B and reads the gradient of its output.
  EXPECT_FALSE(same_place(*plan.output_grad[0], *plan.output_grad[1]));
  // A bias needs no input.
  const Flags bias{.in_place = true, .parameters = true};
  const MemoryPlan with_bias = expect_sound(layers({kConvolution, bias, kConvolution}), whole());
  EXPECT_TRUE(same_place(with_bias.output[0], with_bias.output[1]));
  EXPECT_FALSE(same_place(*with_bias.output_grad[0], *with_bias.output_grad[1]));
}

TEST(MemoryPlan, TensorsOfNeighboursStayAsTheyAre) {
  const MemoryPlan plan = expect_sound(layers({kDropout, kDropout, kDropout}), between(true, true));
  EXPECT_TRUE(same_place(plan.output[0], plan.output[2]));  // but not the input: it has no place
  // The first gradient of its own is that of layer 1, the last that of the input.
  EXPECT_FALSE(plan.output_grad[2].has_value());
  EXPECT_TRUE(same_place(*plan.output_grad[0], *plan.output_grad[1]));
  EXPECT_EQ(plan.input_grad->region, plan.input_gradients);
  EXPECT_NE(plan.input_gradients, plan.gradient_slots);
  // The loss's gradient is in the slot, so the last layer leaves it alone too.
  const MemoryPlan last = expect_sound(layers({kDropout, kDropout}), between(true, false));
  EXPECT_EQ(last.logits_grad->region, last.slots);
  EXPECT_EQ(last.output_grad[0]->region, last.gradient_slots);
}

TEST(MemoryPlan, NoGradientsBelowTheFirstParameter) {
  const std::vector<Flags> list{kPool, kRelu, kConvolution, kRelu, kConvolution};
  const MemoryPlan plan = expect_sound(layers(list), whole());
  EXPECT_EQ(plan.first_backward, 3);
  EXPECT_FALSE(plan.output_grad[0] || plan.output_grad[1]);
  EXPECT_TRUE(plan.output_grad[2] && plan.output_grad[3]);
  EXPECT_EQ(expect_sound(layers(list), between(true, false)).first_backward, 0);
  const MemoryPlan none = expect_sound(layers({kPool, kRelu}), between(false, true));
  EXPECT_EQ(none.first_backward, 2);
  EXPECT_EQ(region(none, none.gradient_slots).bytes, 0);
  EXPECT_EQ(none.flat.bytes(), 0);
}

TEST(MemoryPlan, AnInPlaceLayerMayChangeTheSize) {
  const std::vector<LayerPlan> list{layer(kConvolution, 100, 100), layer(kDropout, 100, 700),
                                    layer(kDropout, 700, 300), layer(kConvolution, 300, 300)};
  for_each_cut(list, [](const std::vector<LayerPlan>& own, const StageMemory& stage) {
    expect_sound(own, stage);
  });
}

TEST(MemoryPlan, ASecondFWritesNothingThatTheNextStageReads) {
  StageMemory memory = between(true, true);
  memory.outputs = 4;
  memory.recomputes = true;
  const MemoryPlan plan = expect_sound(layers({kConvolution, kPool, kConvolution, kRelu}), memory);
  EXPECT_EQ(plan.output[2].region, plan.outputs);
  EXPECT_TRUE(same_place(plan.output[2], plan.output[3]));
  EXPECT_EQ(region(plan, plan.outputs).count, 4);
  EXPECT_FALSE(plan.second_output[1].has_value());
  EXPECT_EQ(plan.second_output[3]->region, plan.slots);
  EXPECT_TRUE(same_place(*plan.second_output[2], *plan.second_output[3]));
}

TEST(MemoryPlan, SegmentsShareASlot) {
  StageMemory memory = between(true, true);
  memory.slots = 1;
  memory.received = 5;
  memory.recomputes = true;
  std::vector<Flags> eight;
  for (int i = 0; i < 4; ++i) eight.insert(eight.end(), {kConvolution, kPool});
  const MemoryPlan whole_stage = expect_sound(layers(eight), memory);
  EXPECT_EQ(whole_stage.segments, std::vector<int>{0});
  EXPECT_EQ(whole_stage.checkpoints, -1);
  memory.recompute_interval = 2;
  const MemoryPlan in_pairs = expect_sound(layers(eight), memory);
  EXPECT_EQ(in_pairs.segments, (std::vector<int>{0, 2, 4, 6}));
  EXPECT_EQ(in_pairs.segment_end(1), 4);
  EXPECT_EQ(in_pairs.segment_end(3), 8);
  EXPECT_EQ(region(in_pairs, in_pairs.checkpoints).count, 5);
  EXPECT_LT(region(in_pairs, in_pairs.slots).bytes,
            region(whole_stage, whole_stage.slots).bytes / 2);
  memory.recompute_interval = 8;
  EXPECT_EQ(expect_sound(layers(eight), memory).segments, std::vector<int>{0});
}

TEST(MemoryPlan, RandomLayersCutEverywhere) {
  std::mt19937 random(7);
  const auto chance = [&] { return random() % 2 == 0; };
  for (int round = 0; round < 300; ++round) {
    std::vector<LayerPlan> list;
    std::int64_t size = 1 + static_cast<std::int64_t>(random() % 2000);
    for (unsigned i = 0, count = 1 + random() % 8; i < count; ++i) {
      const Flags flags{chance(), chance(), chance(), chance(), static_cast<int>(random() % 3)};
      const std::int64_t to =
          flags.in_place ? size : 1 + static_cast<std::int64_t>(random() % 2000);
      list.push_back(layer(flags, size, to));
      size = to;
    }
    SCOPED_TRACE(fmt::format("round {}", round));
    for_each_cut(list, [&](const std::vector<LayerPlan>& own, StageMemory stage) {
      stage.slots = 1 + static_cast<int>(random() % 4);
      stage.gradient_slots = 1 + static_cast<int>(random() % 3);
      stage.input_gradients = 1 + static_cast<int>(random() % 3);
      stage.optimizer_states = static_cast<int>(random() % 3);
      stage.outputs = 1 + static_cast<int>(random() % 3);
      stage.recomputes = chance();
      stage.recompute_interval = static_cast<int>(random() % 4);
      expect_sound(own, stage);
    });
    if (HasFailure()) return;
  }
}

TEST(MemoryPlan, AlexNetCutEverywhere) {
  const auto plans = make_alexnet().plan(channels_last(1, 3, 64, 64), 1);
  for_each_cut(plans, [](const std::vector<LayerPlan>& own, const StageMemory& stage) {
    const MemoryPlan plan = expect_sound(own, stage);
    PlanReplay replay(own, stage, plan);
    replay.run();
    // Gaps are what packing costs.
    EXPECT_LE(static_cast<double>(region(plan, plan.slots).bytes),
              1.1 * static_cast<double>(replay.most_alive(plan.slots)));
    EXPECT_LE(static_cast<double>(region(plan, plan.gradient_slots).bytes),
              1.1 * static_cast<double>(replay.most_alive(plan.gradient_slots)));
  });
}

TEST(MemoryPlan, AlexNetSharesMemory) {
  const auto plans = make_alexnet().plan(channels_last(8, 3, 224, 224), 1);
  const MemoryPlan plan = expect_sound(plans, whole());
  std::int64_t apart = plans.back().output.bytes(), gradients = 0, parameters = 0;
  for (const LayerPlan& one : plans) {
    apart += one.output.bytes();
    for (const TensorSpec& spec : one.saved) apart += spec.bytes();
    for (const ParameterSpec& parameter : one.parameters) parameters += parameter.spec.bytes();
    if (&one != &plans.back()) gradients += one.output.bytes();
  }
  const std::int64_t slot = region(plan, plan.slots).bytes;
  const std::int64_t gradient_slot = region(plan, plan.gradient_slots).bytes;
  EXPECT_LT(slot, apart * 6 / 10);
  EXPECT_LT(gradient_slot, gradients * 6 / 10);
  EXPECT_EQ(parameters, 4 * 57'044'810);
  // Parameters, gradients, momentum; alignment takes next to nothing.
  const std::int64_t rest = plan.arena.bytes() - slot - gradient_slot - 3 * parameters -
                            region(plan, plan.workspace).bytes;
  EXPECT_GE(rest, 0);
  EXPECT_LT(rest, 64 << 10);
}

TEST(MemoryPlan, SlotsAsTheScheduleNeeds) {
  const auto list = layers({kConvolution, kRelu});
  constexpr int kStages = 4, kMicroBatches = 6;
  const auto slots = [&](const std::string& name, int stage, int micro_batches) {
    const Schedule schedule = make_schedule(name, kStages, micro_batches);
    StageMemory memory = between(stage > 0, stage + 1 < kStages);
    memory.slots = check(with_communication(schedule)).buffers().slots[stage];
    const MemoryPlan plan = expect_sound(list, memory);
    return region(plan, plan.slots).count;
  };
  for (int stage = 0; stage < kStages; ++stage) {
    EXPECT_EQ(slots("gpipe", stage, kMicroBatches), kMicroBatches);
    EXPECT_EQ(slots("1f1b", stage, kMicroBatches), kStages - stage);
    EXPECT_EQ(slots("1f1b", stage, 2), std::min(kStages - stage, 2));
    EXPECT_EQ(slots("naive", stage, kMicroBatches), 1);
  }
}

TEST(MemoryPlan, CopiesOfTheParametersWhereLayersComputeInBf16) {
  LayerPlan first, second;
  first.input = first.output = second.input = second.output = row_major({2, 5}, DType::kBF16);
  second.parameters = {{"weight", row_major({5, 5})}, {"bias", row_major({70})}};
  const std::vector<LayerPlan> layers = {first, second};
  const MemoryPlan plan = plan_memory(layers, {});
  ASSERT_GE(plan.copies, 0);
  const auto& regions = plan.arena.regions();
  EXPECT_GE(regions[plan.copies].bytes * 2, regions[plan.parameters].bytes);
  EXPECT_LT(regions[plan.copies].bytes, regions[plan.parameters].bytes);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(plan.copy[1][i].offset * 2, plan.parameter[1][i].offset);
    EXPECT_EQ(plan.copy[1][i].spec.dtype, DType::kBF16);
    EXPECT_EQ(plan.copy[1][i].spec.shape, plan.parameter[1][i].spec.shape);
  }
  std::vector<LayerPlan> in_fp32 = layers;
  for (LayerPlan& layer : in_fp32) layer.input.dtype = layer.output.dtype = DType::kF32;
  EXPECT_EQ(plan_memory(in_fp32, {}).copies, -1);
}

TEST(MemoryPlan, BuffersForWhatIsCopiedFromOtherDevices) {
  LayerPlan layer;
  layer.input = row_major({2, 100});
  layer.output = row_major({2, 300});
  const std::vector<LayerPlan> layers = {layer};
  StageMemory stage;
  stage.received = 3;
  stage.received_gradients = 2;
  stage.has_previous = stage.has_next = true;
  EXPECT_EQ(plan_memory(layers, stage).received_activations, -1);
  EXPECT_EQ(plan_memory(layers, stage).received_gradients, -1);
  stage.receives_activations = stage.receives_gradients = true;
  const MemoryPlan plan = plan_memory(layers, stage);
  const Region& activations = plan.arena.regions()[plan.received_activations];
  const Region& gradients = plan.arena.regions()[plan.received_gradients];
  EXPECT_EQ(activations.count, 3);
  EXPECT_GE(activations.bytes, layer.input.bytes());
  EXPECT_EQ(gradients.count, 2);
  EXPECT_GE(gradients.bytes, layer.output.bytes());
  EXPECT_EQ(plan.received_input->spec, layer.input);
  EXPECT_EQ(plan.received_output_grad->spec, layer.output);
}

TEST(MemoryPlan, TextForPeople) {
  StageMemory memory = between(true, true);
  memory.outputs = 3;
  memory.optimizer_states = 0;
  const LayerPlan one = layer({}, 1 << 18, 3 << 18);  // 1 MiB to 3 MiB
  EXPECT_EQ(describe(plan_memory(std::span(&one, 1), memory)),
            "  outputs for the next stage         3 x       3.0 MiB\n"
            "  gradients for the stage before     1 x       1.0 MiB\n"
            "  workspace                          1 x       0.2 MiB\n");
}

TEST(MemoryPlan, RefusesWhatIsNone) {
  const auto list = layers({kConvolution});
  EXPECT_EQ(error_of([&] { plan_memory({}, whole()); }),
            "plan_memory: expected layers, at least one buffer of each kind, and nothing negative, "
            "got 0 layers, 1 buffers of a kind, 1 optimizer states, every 0 layers recomputed");
  const auto refused = [&](int StageMemory::*field, int value) {
    StageMemory memory = whole();
    memory.*field = value;
    return !error_of([&] { plan_memory(list, memory); }).empty();
  };
  EXPECT_TRUE(refused(&StageMemory::slots, 0));
  EXPECT_TRUE(refused(&StageMemory::gradient_slots, 0));
  EXPECT_TRUE(refused(&StageMemory::received, 0));
  EXPECT_TRUE(refused(&StageMemory::outputs, 0));
  EXPECT_TRUE(refused(&StageMemory::input_gradients, 0));
  EXPECT_TRUE(refused(&StageMemory::recompute_interval, -1));
  EXPECT_TRUE(refused(&StageMemory::optimizer_states, -1));
  StageMemory memory = whole();
  memory.loss_rows = -1;
  EXPECT_NE(error_of([&] { plan_memory(list, memory); }), "");
}

}  // namespace
}  // namespace stagecoach
