// Runs one micro-batch, also with a second F, on the places of a memory plan, without memory: every
// piece of 256 bytes knows whose tensor was written there last, so a tensor that is overwritten
// before its last reader shows. Knows the layer contract and nothing of how the plan was made.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "pipeline/memory_plan.h"

namespace stagecoach::testing {

class PlanReplay {
 public:
  PlanReplay(const StageGraph& graph, const StageMemory& stage, const MemoryPlan& plan)
      : graph_(graph), stage_(stage), plan_(plan), owner_(plan.arena.regions().size()) {
    for (std::size_t v = 0; v < graph.values.size(); ++v) {
      const int number = static_cast<int>(v);
      received_.push_back(add("received value", number, plan.received[v]));
      values_.push_back(add("value", number, plan.value[v]));
      second_.push_back(add("second value", number, plan.second[v]));
      received_gradients_.push_back(add("received gradient", number, plan.received_gradient[v]));
      gradients_.push_back(add("gradient of value", number, plan.gradient[v]));
    }
    for (int i = 0; i < graph.size(); ++i) {
      saved_.emplace_back();
      for (const Place& place : plan.saved[i]) saved_[i].push_back(add("saved of layer", i, place));
      EXPECT_EQ(saved_[i].size(), graph.layers[i].saved.size());
      for (const MaybePlace& place : plan.part[i]) parts_[i].push_back(add("part of", i, place));
      expect_parts(i);
    }
  }

  // Expects that F, B and W read what was written for them.
  void run() {
    operation("receive", {}, present(received_), -1);
    for (int i = 0; i < graph_.size(); ++i) forward(i, false);
    hand_on(graph_.received, received_, values_);
    operation("send", sent(), {}, -1);
    // Somebody else has the slot until F runs again.
    if (stage_.recomputes) std::fill(owner_[plan_.slots].begin(), owner_[plan_.slots].end(), -1);
    operation("receive", {}, present(received_gradients_), -1);
    std::vector<int> only_handed_on;
    for (const int v : graph_.gradients_sent) {
      if (graph_.values[v].parts.empty()) only_handed_on.push_back(v);
    }
    hand_on(only_handed_on, received_gradients_, gradients_);
    for (int g = static_cast<int>(plan_.segments.size()) - 1; g >= 0; --g) segment(g);
    // Other stages may be the last to have their W.
    operation("W of later stages", sent(), {}, -1);
    std::vector<int> gradients;
    for (const int v : graph_.gradients_sent) gradients.push_back(gradients_[v]);
    operation("W of earlier stages", without_none(gradients), {}, -1);
  }

  // After run(): the most bytes in one slot of a region that are alive at once. What no plan with
  // the same layers in place can go below.
  std::int64_t most_alive(int region) const {
    std::int64_t most = 0;
    for (int time = 0; time <= now_; ++time) {
      std::map<std::int64_t, std::int64_t> at;  // a layer in place has both tensors at one offset
      for (const Tensor& tensor : tensors_) {
        if (tensor.place.region != region || tensor.written > time || tensor.read < time) continue;
        at[begin(tensor.place)] = std::max(at[begin(tensor.place)], size(tensor.place));
      }
      std::int64_t alive = 0;
      for (const auto& [offset, count] : at) alive += count;
      most = std::max(most, alive);
    }
    return most * Buffer::kAlignment;
  }

 private:
  struct Tensor {
    const char* what;
    int number;
    Place place;
    int written = 1, read = 0;  // first and last use
  };

  static std::int64_t pieces(std::int64_t bytes) {
    return (bytes + Buffer::kAlignment - 1) / Buffer::kAlignment;
  }
  static std::int64_t begin(const Place& place) { return place.offset / Buffer::kAlignment; }
  static std::int64_t size(const Place& place) { return pieces(place.spec.bytes()); }
  static bool overlap(const Place& a, const Place& b) {
    return a.region == b.region && begin(a) < begin(b) + size(b) && begin(b) < begin(a) + size(a);
  }
  static bool same(const Place& a, const Place& b) {
    return a.region == b.region && a.offset == b.offset && a.spec == b.spec;
  }

  int add(const char* what, int number, const MaybePlace& maybe) {
    if (!maybe) return -1;
    const Place& place = *maybe;
    const Region& region = plan_.arena.regions().at(place.region);
    EXPECT_EQ(place.offset % Buffer::kAlignment, 0) << what << " " << number;
    EXPECT_GE(place.offset, 0) << what << " " << number;
    EXPECT_LE(place.offset + place.spec.bytes(), region.bytes) << what << " " << number;
    tensors_.push_back({what, number, place});
    owner_[place.region].resize(static_cast<std::size_t>(pieces(region.bytes)), -1);
    return static_cast<int>(tensors_.size()) - 1;
  }

  std::string name(int tensor) const {
    if (tensor < 0) return "nothing";
    return std::string(tensors_[tensor].what) + " " + std::to_string(tensors_[tensor].number);
  }

  // The first part of a gradient is written to the gradient itself; what a loss saved may be one.
  void expect_parts(int i) {
    for (std::size_t k = 0; k < graph_.inputs[i].size(); ++k) {
      const int v = graph_.inputs[i][k];
      const std::vector<ValueReader>& parts = graph_.values[v].parts;
      const ValueReader reader{i, static_cast<int>(k)};
      const bool is_part = std::ranges::find(parts, reader) != parts.end();
      ASSERT_EQ(parts_[i][k] >= 0, is_part) << "layer " << i << ", input " << k;
      if (!is_part || parts.front() != reader) continue;
      ASSERT_GE(gradients_[v], 0) << v;
      EXPECT_TRUE(same(*plan_.part[i][k], *plan_.gradient[v]));
      if (graph_.layers[i].saved_is_input_grad && k == 0 && parts.size() == 1) {
        EXPECT_TRUE(same(*plan_.gradient[v], plan_.saved[i][0]));
        gradients_[v] = saved_[i][0];
      }
      parts_[i][k] = gradients_[v];
    }
  }

  static std::vector<int> without_none(std::vector<int> tensors) {
    std::erase(tensors, -1);
    return tensors;
  }
  static std::vector<int> present(const std::vector<int>& tensors) { return without_none(tensors); }
  std::vector<int> sent() const {
    std::vector<int> tensors;
    for (const int v : graph_.sent) tensors.push_back(values_[v]);
    return without_none(tensors);
  }

  // What was copied here has a copy of its own where it is handed on.
  void hand_on(const std::vector<int>& message, const std::vector<int>& from,
               const std::vector<int>& to) {
    for (const int v : message) {
      if (to[v] < 0) continue;
      ASSERT_GE(from[v], 0) << "value " << v << " has a place, but is not copied here";
      operation("handing on", {from[v]}, {to[v]}, -1);
    }
  }

  // Of one segment: F again where the stage recomputes, B, W.
  void segment(int g) {
    const int first = plan_.segment_first(g), end = plan_.segment_end(g);
    for (int i = first; i < end && stage_.recomputes; ++i) forward(i, true);
    for (int i = end - 1; i >= first; --i) {
      if (graph_.runs_backward[i]) backward_input(i);
    }
    for (int i = end - 1; i >= first; --i) {
      if (!graph_.layers[i].parameters.empty()) backward_weight(i);
    }
  }

  bool same_segment(int a, int b) const {
    return std::ranges::upper_bound(plan_.segments, a) ==
           std::ranges::upper_bound(plan_.segments, b);
  }

  // The tensors that a layer reads its inputs from; -1 for what has no place in this stage.
  std::vector<int> inputs(int i, bool second) const {
    std::vector<int> tensors;
    for (const int v : graph_.inputs[i]) {
      const int maker = graph_.values[v].maker;
      const bool again = second && second_[v] >= 0 && same_segment(maker, i);
      tensors.push_back(maker < 0 ? received_[v] : again ? second_[v] : values_[v]);
    }
    return tensors;
  }
  std::vector<int> outputs(int i, bool second) const {
    std::vector<int> tensors;
    for (const int v : graph_.outputs[i]) {
      tensors.push_back(second && second_[v] >= 0 ? second_[v] : values_[v]);
    }
    return tensors;
  }

  void forward(int i, bool second) {
    const std::vector<int> reads = inputs(i, second);
    std::vector<int> writes = outputs(i, second);
    if (i != graph_.loss()) {
      for (const int write : writes) ASSERT_GE(write, 0) << "output of layer " << i;
    }
    writes.insert(writes.end(), saved_[i].begin(), saved_[i].end());
    const bool own = graph_.values[graph_.inputs[i][0]].maker >= 0;
    operation("F", without_none(reads), without_none(writes),
              graph_.layers[i].in_place && own ? reads[0] : -1);
  }

  // The gradients of a layer's outputs; none where there is none, or it is the next stage's.
  std::vector<int> output_gradients(int i) const {
    std::vector<int> tensors;
    for (const int v : graph_.outputs[i]) {
      const int own = gradients_[v];
      EXPECT_TRUE(own >= 0 || graph_.values[v].parts.empty()) << v;
      tensors.push_back(own >= 0 ? own : received_gradients_[v]);
    }
    return tensors;
  }

  void backward_input(int i) {
    const LayerPlan& layer = graph_.layers[i];
    const std::vector<int> gradients = output_gradients(i);
    if (!(i == graph_.loss() && layer.saved_is_input_grad)) {
      std::vector<int> reads = gradients;
      reads.insert(reads.end(), saved_[i].begin(), saved_[i].end());
      if (layer.outputs_needed_by_input) append(reads, outputs(i, false));
      if (layer.inputs_needed_by_input) append(reads, inputs(i, false));
      const bool own = !gradients.empty() && plan_.gradient[graph_.outputs[i][0]];
      operation("B", without_none(reads), without_none(parts_[i]),
                layer.in_place && own ? gradients[0] : -1);
    }
    for (int k = static_cast<int>(parts_[i].size()) - 1; k >= 0; --k) {
      if (parts_[i][k] >= 0) add_part(graph_.inputs[i][k], parts_[i][k]);
    }
  }

  void add_part(int v, int part) {
    const int sum = gradients_[v];
    if (part != sum) return operation("sum", {sum, part}, {sum}, sum);
    if (!graph_.values[v].gradient_from_next) return;
    operation("sum", without_none({sum, received_gradients_[v]}), {sum}, sum);
  }

  void backward_weight(int i) {
    std::vector<int> reads = output_gradients(i);
    append(reads, saved_[i]);
    if (graph_.layers[i].inputs_needed_by_weight) append(reads, inputs(i, false));
    operation("W", without_none(reads), {}, -1);
  }

  static void append(std::vector<int>& to, const std::vector<int>& from) {
    to.insert(to.end(), from.begin(), from.end());
  }

  // `replaceable`: the tensor that is read and may be written over at its own place, or -1.
  void operation(const char* kind, const std::vector<int>& reads, const std::vector<int>& writes,
                 int replaceable) {
    ++now_;
    for (const int read : reads) {
      expect_owner(kind, read);
      tensors_[read].read = now_;
    }
    for (std::size_t w = 0; w < writes.size(); ++w) {
      const Place& place = tensors_[writes[w]].place;
      for (const int read : reads) {
        const Place& other = tensors_[read].place;
        ASSERT_TRUE(!overlap(place, other) || (read == replaceable && place.offset == other.offset))
            << kind << " writes " << name(writes[w]) << " into " << name(read);
      }
      for (std::size_t other = 0; other < w; ++other) {
        ASSERT_FALSE(overlap(place, tensors_[writes[other]].place)) << kind << name(writes[w]);
      }
      write(writes[w]);
    }
  }

  void expect_owner(const char* kind, int read) const {
    const Place& place = tensors_[read].place;
    for (std::int64_t at = begin(place); at < begin(place) + size(place); ++at) {
      const int owner = owner_[place.region][static_cast<std::size_t>(at)];
      ASSERT_EQ(owner, read) << kind << " reads " << name(read) << ", finds " << name(owner);
    }
  }

  void write(int tensor) {
    const Place& place = tensors_[tensor].place;
    const auto first = owner_[place.region].begin() + begin(place);
    std::fill(first, first + size(place), tensor);
    tensors_[tensor].written = tensors_[tensor].read = now_;
  }

  const StageGraph& graph_;
  const StageMemory& stage_;
  const MemoryPlan& plan_;
  int now_ = 0;
  std::vector<Tensor> tensors_;
  std::vector<std::vector<int>> owner_;  // [region][piece]: the tensor that is there, or -1
  // By value, by layer: numbers of tensors, or -1.
  std::vector<int> received_, values_, second_, received_gradients_, gradients_;
  std::vector<std::vector<int>> saved_;
  std::map<int, std::vector<int>> parts_;
};

}  // namespace stagecoach::testing
