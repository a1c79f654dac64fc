#include "pipeline/memory_plan.h"

#include <random>

#include "layers/network.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/generators.h"
#include "tests/pipeline/plan_layers.h"
#include "tests/pipeline/schedule/table_text.h"

namespace stagecoach {
namespace {

using namespace testing;  // NOLINT: all of plan_layers.h

TEST(MemoryPlan, ReluWorksInPlaceBetweenOthers) {
  const Planned plan =
      expect_sound(whole(layers({kConvolution, kRelu, kPool, kConvolution, kRelu, kConvolution})));
  EXPECT_TRUE(same_place(*plan.output(0), *plan.output(1)));
  EXPECT_TRUE(same_place(*plan.output(3), *plan.output(4)));
  EXPECT_FALSE(same_place(*plan.output(1), *plan.output(2)));
  EXPECT_TRUE(same_place(*plan.output_grad(0), *plan.output_grad(1)));
  EXPECT_TRUE(same_place(*plan.output_grad(3), *plan.output_grad(4)));
  EXPECT_FALSE(same_place(*plan.output_grad(1), *plan.output_grad(2)));
}

TEST(MemoryPlan, NobodyOverwritesWhatTheLayerBeforeNeeds) {
  const Planned plan = expect_sound(whole(layers({kConvolution, kRelu, kDropout, kDropout})));
  EXPECT_TRUE(same_place(*plan.output(0), *plan.output(1)));
  EXPECT_FALSE(same_place(*plan.output(1), *plan.output(2)));
  EXPECT_TRUE(same_place(*plan.output(2), *plan.output(3)));
  // Gradients may: nobody needs them again.
  EXPECT_TRUE(same_place(*plan.output_grad(0), *plan.output_grad(1)));
  EXPECT_TRUE(same_place(*plan.output_grad(1), *plan.output_grad(2)));
}

TEST(MemoryPlan, WithAnInputForTheWeightsNothingIsInPlace) {
  const Flags prelu{.in_place = true, .parameters = true, .needs_input = true};
  const Planned plan = expect_sound(whole(layers({kConvolution, prelu, kConvolution})));
  EXPECT_FALSE(same_place(*plan.output(0), *plan.output(1)));
  // Its W comes after its B and reads the gradient of its output.
  EXPECT_FALSE(same_place(*plan.output_grad(0), *plan.output_grad(1)));
  // A bias needs no input.
  const Flags bias{.in_place = true, .parameters = true};
  const Planned with_bias = expect_sound(whole(layers({kConvolution, bias, kConvolution})));
  EXPECT_TRUE(same_place(*with_bias.output(0), *with_bias.output(1)));
  EXPECT_FALSE(same_place(*with_bias.output_grad(0), *with_bias.output_grad(1)));
}

TEST(MemoryPlan, TensorsOfNeighboursStayAsTheyAre) {
  const Planned plan = expect_sound(between(layers({kDropout, kDropout, kDropout}), true, true));
  EXPECT_TRUE(same_place(*plan.output(0), *plan.output(2)));  // but not the input: it has no place
  EXPECT_FALSE(plan.value[plan.graph.received[0]].has_value());
  // The first gradient of its own is that of layer 1, the last that of the input.
  EXPECT_FALSE(plan.output_grad(2).has_value());
  EXPECT_TRUE(same_place(*plan.output_grad(0), *plan.output_grad(1)));
  EXPECT_EQ(plan.input_grad()->region, plan.input_gradients);
  EXPECT_NE(plan.input_gradients, plan.gradient_slots);
  // The loss's gradient is in the slot, so the last layer leaves it alone too.
  const Planned last = expect_sound(between(layers({kDropout, kDropout}), true, false));
  EXPECT_EQ(last.output_grad(1)->region, last.slots);
  EXPECT_TRUE(same_place(*last.output_grad(1), last.saved[2][0]));
  EXPECT_EQ(last.output_grad(0)->region, last.gradient_slots);
}

TEST(MemoryPlan, NoGradientsBelowTheFirstParameter) {
  const std::vector<LayerPlan> list = layers({kPool, kRelu, kConvolution, kRelu, kConvolution});
  const Planned plan = expect_sound(whole(list));
  EXPECT_EQ(plan.graph.runs_backward, (std::vector<bool>{false, false, false, true, true, true}));
  EXPECT_FALSE(plan.output_grad(0) || plan.output_grad(1));
  EXPECT_TRUE(plan.output_grad(2) && plan.output_grad(3));
  EXPECT_TRUE(expect_sound(between(list, true, false)).graph.runs_backward[0]);
  const Planned none = expect_sound(between(layers({kPool, kRelu}), false, true));
  EXPECT_EQ(none.graph.runs_backward, (std::vector<bool>{false, false}));
  EXPECT_EQ(region(none, none.gradient_slots).bytes, 0);
  EXPECT_EQ(none.flat.bytes(), 0);
  // Nor does the stage behind it send any.
  const Planned behind = expect_sound(list_of(list).stage(1, 3));
  EXPECT_TRUE(behind.graph.gradients_sent.empty());
  EXPECT_EQ(region(behind, behind.input_gradients).bytes, 0);
}

TEST(MemoryPlan, AnInPlaceLayerMayChangeTheSize) {
  const Graph list = list_of({layer(kConvolution, 100, 100), layer(kDropout, 100, 700),
                              layer(kDropout, 700, 300), layer(kConvolution, 300, 300)});
  for_each_cut(list, [](const StageGraph& stage) { expect_sound(stage); });
}

TEST(MemoryPlan, ASecondFWritesNothingThatTheNextStageReads) {
  StageMemory memory = one_of_each();
  memory.outputs = 4;
  memory.recomputes = true;
  const Planned plan =
      expect_sound(between(layers({kConvolution, kPool, kConvolution, kRelu}), true, true), memory);
  EXPECT_EQ(plan.output(2)->region, plan.outputs);
  EXPECT_TRUE(same_place(*plan.output(2), *plan.output(3)));
  EXPECT_EQ(region(plan, plan.outputs).count, 4);
  EXPECT_FALSE(plan.second_output(1).has_value());
  EXPECT_EQ(plan.second_output(3)->region, plan.slots);
  EXPECT_TRUE(same_place(*plan.second_output(2), *plan.second_output(3)));
}

TEST(MemoryPlan, SegmentsShareASlot) {
  StageMemory memory = one_of_each();
  memory.slots = 1;
  memory.received = 5;
  memory.recomputes = true;
  std::vector<Flags> eight;
  for (int i = 0; i < 4; ++i) eight.insert(eight.end(), {kConvolution, kPool});
  for (const bool last : {false, true}) {  // the loss is in the last segment
    const StageGraph stage = between(layers(eight), true, !last);
    memory.recompute_interval = 0;
    const Planned whole_stage = expect_sound(stage, memory);
    EXPECT_EQ(whole_stage.segments, std::vector<int>{0});
    EXPECT_EQ(whole_stage.checkpoints, -1);
    memory.recompute_interval = 2;
    const Planned in_pairs = expect_sound(stage, memory);
    EXPECT_EQ(in_pairs.segments, (std::vector<int>{0, 2, 4, 6}));
    EXPECT_EQ(in_pairs.segment_end(1), 4);
    EXPECT_EQ(in_pairs.segment_end(3), last ? 9 : 8);
    EXPECT_EQ(region(in_pairs, in_pairs.checkpoints).count, 5);
    EXPECT_LT(region(in_pairs, in_pairs.slots).bytes,
              region(whole_stage, whole_stage.slots).bytes / 2);
    memory.recompute_interval = 8;
    EXPECT_EQ(expect_sound(stage, memory).segments, std::vector<int>{0});
  }
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
    for_each_cut(list_of(list),
                 [&](const StageGraph& stage) { expect_sound(stage, random_memory(random)); });
    if (HasFailure()) return;
  }
}

TEST(MemoryPlan, AlexNetCutEverywhere) {
  const Network alexnet = make_alexnet();
  std::vector<LayerPlan> plans = alexnet.plan(channels_last(1, 3, 64, 64), 1);
  plans.pop_back();
  const Graph graph = list_of(plans);
  for_each_cut(graph, [](const StageGraph& stage) {
    const StageMemory memory = one_of_each();
    const Planned plan = expect_sound(stage, memory);
    PlanReplay replay(stage, memory, plan);
    replay.run();
    // Gaps are what packing costs.
    EXPECT_LE(static_cast<double>(region(plan, plan.slots).bytes),
              1.1 * static_cast<double>(replay.most_alive(plan.slots)));
    EXPECT_LE(static_cast<double>(region(plan, plan.gradient_slots).bytes),
              1.1 * static_cast<double>(replay.most_alive(plan.gradient_slots)));
  });
}

TEST(MemoryPlan, AlexNetSharesMemory) {
  const Network alexnet = make_alexnet();
  const auto plans = alexnet.plan(channels_last(8, 3, 224, 224), 1);
  const Planned plan = expect_sound(stage_graph(alexnet, plans, 0, alexnet.size()));
  std::int64_t apart = 0, gradients = 0, parameters = 0;
  for (int i = 0; i < alexnet.size(); ++i) {
    apart += plans[i].outputs[0].bytes();
    if (i + 1 < alexnet.size()) gradients += plans[i].outputs[0].bytes();
  }
  for (const LayerPlan& one : plans) {
    for (const TensorSpec& spec : one.saved) apart += spec.bytes();
    for (const ParameterSpec& parameter : one.parameters) parameters += parameter.spec.bytes();
  }
  const std::int64_t slot = region(plan, plan.slots).bytes;
  const std::int64_t gradient_slot = region(plan, plan.gradient_slots).bytes;
  EXPECT_LT(slot, apart * 6 / 10);
  EXPECT_LT(gradient_slot, gradients * 6 / 10);
  EXPECT_EQ(parameters, 4 * 57'044'810);
  // Parameters, gradients, momentum; alignment takes next to nothing.
  const std::int64_t rest = plan.arena.bytes() - slot - gradient_slot - 3 * parameters -
                            region(plan, plan.workspace).bytes - region(plan, plan.prepared).bytes -
                            region(plan, plan.weight_state).bytes;
  EXPECT_GE(rest, 0);
  EXPECT_LT(rest, 64 << 10);
}

TEST(MemoryPlan, SlotsAsTheScheduleNeeds) {
  constexpr int kStages = 4, kMicroBatches = 6;
  const auto slots = [&](const std::string& name, int stage, int micro_batches) {
    const Schedule schedule = make_schedule(name, kStages, micro_batches);
    StageMemory memory = one_of_each();
    memory.slots = check(with_communication(schedule)).buffers().slots[stage];
    const Planned plan = expect_sound(
        between(layers({kConvolution, kRelu}), stage > 0, stage + 1 < kStages), memory);
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
  first.inputs = first.outputs = second.inputs = second.outputs = {row_major({2, 5}, DType::kBF16)};
  second.parameters = {{"weight", row_major({5, 5}), {}}, {"bias", row_major({70}), {}}};
  const MemoryPlan plan = plan_memory(whole({first, second}), {});
  ASSERT_GE(plan.copies, 0);
  const auto& regions = plan.arena.regions();
  EXPECT_GE(regions[plan.copies].bytes * 2, regions[plan.parameters].bytes);
  EXPECT_LT(regions[plan.copies].bytes, regions[plan.parameters].bytes);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(plan.copy[1][i].offset * 2, plan.parameter[1][i].offset);
    EXPECT_EQ(plan.copy[1][i].spec.dtype, DType::kBF16);
    EXPECT_EQ(plan.copy[1][i].spec.shape, plan.parameter[1][i].spec.shape);
  }
  first.inputs = first.outputs = second.inputs = second.outputs = {row_major({2, 5})};
  EXPECT_EQ(plan_memory(whole({first, second}), {}).copies, -1);
}

TEST(MemoryPlan, BuffersForWhatIsCopiedFromOtherDevices) {
  const StageGraph stage = between({layer(kConvolution, 200, 600)}, true, true);
  StageMemory memory;
  memory.received = 3;
  memory.received_gradients = 2;
  EXPECT_EQ(plan_memory(stage, memory).received_activations, -1);
  EXPECT_EQ(plan_memory(stage, memory).received_gradients, -1);
  memory.receives_activations = memory.receives_gradients = true;
  const MemoryPlan plan = plan_memory(stage, memory);
  const Region& activations = plan.arena.regions()[plan.received_activations];
  const Region& gradients = plan.arena.regions()[plan.received_gradients];
  EXPECT_EQ(activations.count, 3);
  EXPECT_GE(activations.bytes, 4 * 200);
  EXPECT_EQ(gradients.count, 2);
  EXPECT_GE(gradients.bytes, 4 * 600);
  EXPECT_EQ(plan.received[stage.received[0]]->spec, stage.layers[0].inputs[0]);
  EXPECT_EQ(plan.received_gradient[stage.sent[0]]->spec, stage.layers[0].outputs[0]);
}

// What layers keep from step to step, and of each micro-batch until the step ends.
TEST(MemoryPlan, StateOfLayers) {
  LayerPlan keeping = layer(kConvolution);
  EXPECT_EQ(plan_memory(whole({keeping}), {}).buffers, -1);
  EXPECT_EQ(plan_memory(whole({keeping}), {}).step_state, -1);
  keeping.buffers = {{"mean", row_major({5}), {}}, {"count", row_major({1}), {}}};
  keeping.step_state = {row_major({5}), row_major({2, 3})};
  StageMemory memory = one_of_each();
  memory.micro_batches = 7;
  const Planned plan = expect_sound(whole({layer(kPool), keeping}), memory);
  EXPECT_EQ(region(plan, plan.buffers).bytes, 2 * Buffer::kAlignment);
  EXPECT_EQ(plan.buffer[1][0].region, plan.buffers);
  EXPECT_EQ(plan.buffer[1][1].offset, Buffer::kAlignment);
  EXPECT_EQ(plan.step_state_of[1][0].spec, row_major({7, 5}));
  EXPECT_EQ(plan.step_state_of[1][1].spec, row_major({7, 2, 3}));
  EXPECT_EQ(region(plan, plan.step_state).count, 1);
}

TEST(MemoryPlan, TextForPeople) {
  StageMemory memory = one_of_each();
  memory.outputs = 3;
  memory.optimizer_states = 0;
  // 1 MiB to 3 MiB
  const StageGraph stage = between({layer({}, 1 << 18, 3 << 18)}, true, true);
  EXPECT_EQ(describe(plan_memory(stage, memory)),
            "  outputs for the next stage         3 x       3.0 MiB\n"
            "  gradients for the stage before     1 x       1.0 MiB\n"
            "  workspace                          1 x       0.2 MiB\n");
}

TEST(MemoryPlan, RefusesWhatIsNone) {
  EXPECT_EQ(error_of([&] { plan_memory({}, one_of_each()); }),
            "plan_memory: expected layers, at least one buffer of each kind, and nothing negative, "
            "got 0 layers, 1 buffers of a kind, 1 optimizer states, every 0 layers recomputed");
  const StageGraph stage = whole(layers({kConvolution}));
  const auto refused = [&](int StageMemory::*field, int value) {
    StageMemory memory = one_of_each();
    memory.*field = value;
    return !error_of([&] { plan_memory(stage, memory); }).empty();
  };
  EXPECT_TRUE(refused(&StageMemory::slots, 0));
  EXPECT_TRUE(refused(&StageMemory::gradient_slots, 0));
  EXPECT_TRUE(refused(&StageMemory::received, 0));
  EXPECT_TRUE(refused(&StageMemory::received_gradients, 0));
  EXPECT_TRUE(refused(&StageMemory::outputs, 0));
  EXPECT_TRUE(refused(&StageMemory::input_gradients, 0));
  EXPECT_TRUE(refused(&StageMemory::micro_batches, 0));
  EXPECT_TRUE(refused(&StageMemory::recompute_interval, -1));
  EXPECT_TRUE(refused(&StageMemory::optimizer_states, -1));
  StageMemory memory = one_of_each();
  memory.loss_rows = -1;
  EXPECT_NE(error_of([&] { plan_memory(stage, memory); }), "");
}

}  // namespace
}  // namespace stagecoach
