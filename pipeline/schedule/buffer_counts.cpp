#include "pipeline/schedule/buffer_counts.h"

#include <algorithm>
#include <utility>

#include "pipeline/schedule/dependencies.h"
#include "pipeline/schedule/slot_use.h"

namespace stagecoach {
namespace {

using enum ActionKind;

// The most that were in use at once.
class Peak {
 public:
  void take() { most_ = std::max(most_, ++now_); }
  void give() { --now_; }
  int most() const { return std::max(1, most_); }

 private:
  int now_ = 0, most_ = 0;
};

struct OwnPeaks {
  Peak slots, received, received_gradients, gradient_slots;
  bool posts_inputs = false, posts_gradients = false;
};

// When F and B start and W ends, when every one of them takes one unit of time and BW two. By index
// of Dependencies.
std::vector<float> unit_times(const Schedule& schedule, const Dependencies& dependencies) {
  std::vector<float> end_of(dependencies.size());
  std::vector<float> free_at(schedule.ranks.size(), 0.0f);
  replay(
      schedule, dependencies,
      [&](int rank, std::size_t, const Action& action, const DependencyList& needed) {
        float time = free_at[rank];
        for (const Action dependency : needed) {
          time = std::max(time, end_of[dependencies.index(dependency)]);
        }
        if (is_compute(action.kind)) time += action.kind == kBackward ? 2.0f : 1.0f;
        for (const std::size_t index : dependencies.completed_by(action)) end_of[index] = time;
        free_at[rank] = time;
      },
      [&](int rank, std::size_t arrival) { end_of[arrival] = free_at[rank]; });
  return end_of;
}

// Of buffers with number n % count, how many are needed that `writers`, the numbers of a replica's
// micro-batches in its order, never write over what is still in use. That of n begins to be written
// at begin(n), and is free when released(n) has passed.
template <typename Begin, typename Released>
int window(const std::vector<int>& writers, const Begin& begin, const Released& released) {
  int most = 1, first = 0;  // `first`: the lowest that is still in use
  for (const int number : writers) {
    const float now = begin(number);
    while (first < number && released(first) <= now) ++first;
    most = std::max(most, number - first + 1);
  }
  return most;
}

// By replica of a stage, the numbers of the micro-batches of its F and of its B or BW in their
// order.
struct Orders {
  std::vector<std::vector<int>> forward, backward;
};

Orders orders_of(const Schedule& schedule, const Placement& placement) {
  const std::size_t replicas = placement.ranks().size();
  Orders orders{std::vector<std::vector<int>>(replicas), std::vector<std::vector<int>>(replicas)};
  for (const auto& actions : schedule.ranks) {
    for (const Action& action : actions) {
      const bool backward = action.kind == kBackwardInput || action.kind == kBackward;
      if (action.kind != kForward && !backward) continue;
      const int replica = placement.replica_of(action.stage, action.micro_batch);
      std::vector<std::vector<int>>& of_kind = backward ? orders.backward : orders.forward;
      of_kind[placement.index(action.stage, replica)].push_back(
          placement.number_of(action.stage, action.micro_batch));
    }
  }
  return orders;
}

// By stage, how long before its end a backward of it may have started: two units where any is a BW.
std::vector<float> backward_units(const Schedule& schedule) {
  std::vector<float> units(static_cast<std::size_t>(schedule.stages), 1.0f);
  for (const auto& actions : schedule.ranks) {
    for (const Action& action : actions) {
      if (action.kind == kBackward) units[action.stage] = 2.0f;
    }
  }
  return units;
}

}  // namespace

BufferCounts own_buffers_of(const Schedule& schedule, const Placement& placement,
                            const SlotUse& slots) {
  std::vector<OwnPeaks> peaks(placement.ranks().size());
  const auto peaks_of = [&](const Action& action) -> OwnPeaks& {
    return peaks[placement.index(action.stage,
                                 placement.replica_of(action.stage, action.micro_batch))];
  };
  for (const auto& actions : schedule.ranks) {
    for (const Action& action : actions) {
      if (action.kind == kReceiveActivation) peaks_of(action).posts_inputs = true;
      if (action.kind == kReceiveGradient) peaks_of(action).posts_gradients = true;
    }
  }
  for (const auto& actions : schedule.ranks) {
    for (const Action& action : actions) {
      if (is_per_stage(action.kind)) continue;
      OwnPeaks& stage = peaks_of(action);
      const bool forward = action.kind == kForward;
      const bool backward = action.kind == kBackwardInput || action.kind == kBackward;
      const bool last = action.kind == kBackwardWeight || action.kind == kBackward;
      if (stage.posts_inputs ? action.kind == kReceiveActivation : forward) stage.received.take();
      if (stage.posts_gradients ? action.kind == kReceiveGradient : backward) {
        stage.received_gradients.take();
      }
      if (SlotUse::takes(action)) stage.slots.take();
      if (backward) stage.gradient_slots.take();
      if (slots.gives(action)) stage.slots.give();
      if (last) stage.gradient_slots.give();
      if (last) stage.received_gradients.give();
      if (last || (forward && !slots.trains())) stage.received.give();
    }
  }
  BufferCounts buffers;
  for (int stage = 0; stage < schedule.stages; ++stage) {
    const auto most = [&](Peak OwnPeaks::*of_kind) {
      int count = 1;
      for (int replica = 0; replica < placement.replicas(stage); ++replica) {
        count = std::max(count, (peaks[placement.index(stage, replica)].*of_kind).most());
      }
      return count;
    };
    buffers.slots.push_back(most(&OwnPeaks::slots));
    buffers.received.push_back(most(&OwnPeaks::received));
    buffers.received_gradients.push_back(most(&OwnPeaks::received_gradients));
    buffers.gradient_slots.push_back(most(&OwnPeaks::gradient_slots));
  }
  return buffers;
}

BufferCounts buffer_counts_of(const Schedule& schedule, const Dependencies& data,
                              const SlotUse& slots) {
  const Placement& placement = data.placement();
  BufferCounts buffers = own_buffers_of(schedule, placement, slots);
  const bool trains = slots.trains();
  const std::vector<float> end_of = unit_times(schedule, data);
  const Orders orders = orders_of(schedule, placement);
  const std::vector<float> units = backward_units(schedule);
  const auto end = [&](ActionKind kind, int stage, int micro) {
    return end_of[data.index(kind, stage, micro)];
  };
  const ActionKind last = trains ? kBackwardWeight : kForward;
  // When the stages [first, end_stage] have done with a micro-batch.
  const auto read = [&](int first, int end_stage, int micro) {
    float time = 0;
    for (int stage = first; stage <= end_stage; ++stage) {
      time = std::max(time, end(last, stage, micro));
    }
    return time;
  };
  // The most that a replica of the stage needs.
  const auto most = [&](int stage, const std::vector<std::vector<int>>& writers, const auto& begin,
                        const auto& released) {
    int count = 1;
    for (int replica = 0; replica < placement.replicas(stage); ++replica) {
      const int first = replica * placement.block(stage);
      const auto micro = [&](int number) { return placement.micro_batch_of(stage, first, number); };
      count = std::max(count, window(
                                  writers[placement.index(stage, replica)],
                                  [&](int number) { return begin(micro(number)); },
                                  [&](int number) { return released(micro(number)); }));
    }
    return count;
  };
  for (int stage = 0; stage < schedule.stages; ++stage) {
    // At least two of a group, so that a stage need not wait until the one before has used the
    // first.
    const int least = std::clamp(placement.block(stage), 1, 2 * placement.groups_of_replica(stage));
    const int last_reader = data.reach().last_reader_of(stage);
    const int first_reader = data.reach().first_reader_of(stage);
    const auto forward_begin = [&](int micro) { return end(kForward, stage, micro) - 1; };
    const auto output_read = [&](int micro) { return read(stage, last_reader, micro); };
    const auto backward_begin = [&](int micro) {
      return end(kBackwardInput, stage, micro) - units[stage];
    };
    const auto gradient_read = [&](int micro) { return read(first_reader, stage - 1, micro); };
    const bool sends_output = stage + 1 < schedule.stages;
    buffers.outputs.push_back(sends_output ? most(stage, orders.forward, forward_begin, output_read)
                                           : 1);
    const bool sends_gradient = stage > 0 && trains;
    buffers.input_gradients.push_back(
        sends_gradient
            ? std::max(least, most(stage, orders.backward, backward_begin, gradient_read))
            : 1);
  }
  return buffers;
}

}  // namespace stagecoach
