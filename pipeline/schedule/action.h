// Action: what a rank does in one place of its table, and what there is to know of each kind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

namespace stagecoach {

enum class ActionKind : std::uint8_t {
  kForward,            // F
  kBackwardInput,      // B: gradient with respect to the input
  kBackwardWeight,     // W: gradient with respect to the weights
  kBackward,           // BW: B and W at once
  kRecompute,          // R: F once more, whose saved tensors F itself did not keep
  kSendActivation,     // to stage + 1
  kReceiveActivation,  // from stage - 1; posted here, waited for where F reads it
  kSendGradient,       // to stage - 1
  kReceiveGradient,    // from stage + 1; posted here, waited for where B reads it
  kReduceGradient,     // of a stage's weights, over its replicas; else STEP does it
  kOptimizerStep,      // of a stage's weights
};

// What a span of a trace shows; a picture has a colour for each.
enum class TraceKind : std::uint8_t {
  kForward,
  kBackwardInput,
  kBackwardWeight,
  kBackward,  // both at once, where they are one box
  kRecompute,
  kSend,
  kReceive,
  kWait,
  kOptimizer,
  kReduce,  // the sum of gradients over replicas, and what shares of them were made for
};

// Compute takes time on a rank; communication is between ranks; of what is per stage, a stage has
// one in a step after its last W, not one for each micro-batch.
enum class ActionRole : std::uint8_t { kCompute, kCommunication, kPerStage };

struct ActionTraits {
  ActionKind kind;
  std::string_view name;  // in tables
  ActionRole role;
  TraceKind trace;
};
inline constexpr ActionTraits kActions[] = {
    {ActionKind::kForward, "F", ActionRole::kCompute, TraceKind::kForward},
    {ActionKind::kBackwardInput, "B", ActionRole::kCompute, TraceKind::kBackwardInput},
    {ActionKind::kBackwardWeight, "W", ActionRole::kCompute, TraceKind::kBackwardWeight},
    {ActionKind::kBackward, "BW", ActionRole::kCompute, TraceKind::kBackward},
    {ActionKind::kRecompute, "R", ActionRole::kCompute, TraceKind::kRecompute},
    {ActionKind::kSendActivation, "SEND_F", ActionRole::kCommunication, TraceKind::kSend},
    {ActionKind::kReceiveActivation, "RECV_F", ActionRole::kCommunication, TraceKind::kReceive},
    {ActionKind::kSendGradient, "SEND_B", ActionRole::kCommunication, TraceKind::kSend},
    {ActionKind::kReceiveGradient, "RECV_B", ActionRole::kCommunication, TraceKind::kReceive},
    {ActionKind::kReduceGradient, "REDUCE_GRAD", ActionRole::kPerStage, TraceKind::kReduce},
    {ActionKind::kOptimizerStep, "STEP", ActionRole::kPerStage, TraceKind::kOptimizer},
};
inline constexpr int kActionKinds = static_cast<int>(std::size(kActions));

// Of a kind that is one.
constexpr const ActionTraits& traits_of(ActionKind kind) {
  return kActions[static_cast<std::size_t>(kind)];
}
constexpr bool actions_are_in_order() {
  for (int i = 0; i < kActionKinds; ++i) {
    if (static_cast<int>(kActions[i].kind) != i) return false;
  }
  return true;
}
static_assert(actions_are_in_order());

constexpr bool is_known(ActionKind kind) {
  return static_cast<int>(kind) < kActionKinds;
}
// "F"; "?" for what is no kind.
constexpr std::string_view name_of(ActionKind kind) {
  return is_known(kind) ? traits_of(kind).name : "?";
}
constexpr bool is_compute(ActionKind kind) {
  return is_known(kind) && traits_of(kind).role == ActionRole::kCompute;
}
constexpr bool is_communication(ActionKind kind) {
  return is_known(kind) && traits_of(kind).role == ActionRole::kCommunication;
}
constexpr bool is_per_stage(ActionKind kind) {
  return is_known(kind) && traits_of(kind).role == ActionRole::kPerStage;
}

struct Action {
  ActionKind kind = ActionKind::kForward;
  int stage = 0;
  int micro_batch = 0;  // -1 where is_per_stage()
  bool operator==(const Action&) const = default;
  std::string to_string() const;  // "0F3": stage 0, forward, micro-batch 3; "1RECV_F3"; "1STEP"
};

}  // namespace stagecoach
