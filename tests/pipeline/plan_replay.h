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
  PlanReplay(const std::vector<LayerPlan>& layers, const StageMemory& stage, const MemoryPlan& plan)
      : layers_(layers),
        stage_(stage),
        plan_(plan),
        n_(static_cast<int>(layers.size())),
        owner_(plan.arena.regions().size()) {
    for (int i = 0; i < n_; ++i) {
      outputs_.push_back(add("output", i, plan.output[i]));
      const std::optional<Place>& second = plan.second_output[i];
      second_.push_back(second ? add("second output", i, *second) : -1);
    }
    for (int i = 0; i < n_; ++i) {
      saved_.emplace_back();
      for (const Place& place : plan.saved[i]) saved_[i].push_back(add("saved", i, place));
      EXPECT_EQ(saved_[i].size(), layers[i].saved.size());
      const bool last = i + 1 == n_;
      const std::optional<Place>& grad = last ? plan.logits_grad : plan.output_grad[i];
      EXPECT_FALSE(last && plan.output_grad[i]) << "gradient from the next stage";
      grads_.push_back(grad ? add("gradient of the output", i, *grad) : -1);
    }
    input_grad_ = plan.input_grad ? add("gradient of the input", 0, *plan.input_grad) : -1;
    EXPECT_EQ(plan.input_grad.has_value(), stage.has_previous);
    EXPECT_EQ(plan.logits_grad.has_value(), !stage.has_next);
  }

  // Expects that F, B and W read what was written for them.
  void run() {
    for (int i = 0; i < n_; ++i) forward(i, false);
    if (!stage_.has_next) loss();
    // Somebody else has the slot until F runs again.
    if (stage_.recomputes) std::fill(owner_[plan_.slots].begin(), owner_[plan_.slots].end(), -1);
    for (int g = static_cast<int>(plan_.segments.size()) - 1; g >= 0; --g) segment(g);
    // The next stage may be the last to have its W.
    if (stage_.has_next) operation("W of the next stage", {outputs_[n_ - 1]}, {}, -1);
  }

  // After run(): the most bytes in one slot of a region that are alive at once. What no plan with
  // the same layers in place can go below.
  std::int64_t most_alive(int region) const {
    std::int64_t most = 0;
    for (int time = 0; time <= now_; ++time) {
      std::map<std::int64_t, std::int64_t> at;  // a layer in place has both tensors at one offset
      for (const Value& value : values_) {
        if (value.place.region != region || value.written > time || value.read < time) continue;
        at[begin(value.place)] = std::max(at[begin(value.place)], size(value.place));
      }
      std::int64_t alive = 0;
      for (const auto& [offset, count] : at) alive += count;
      most = std::max(most, alive);
    }
    return most * Buffer::kAlignment;
  }

 private:
  struct Value {
    const char* what;
    int layer;
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

  int add(const char* what, int layer, const Place& place) {
    const Region& region = plan_.arena.regions().at(place.region);
    EXPECT_EQ(place.offset % Buffer::kAlignment, 0) << what << " " << layer;
    EXPECT_GE(place.offset, 0) << what << " " << layer;
    EXPECT_LE(place.offset + place.spec.bytes(), region.bytes) << what << " " << layer;
    values_.push_back({what, layer, place});
    owner_[place.region].resize(static_cast<std::size_t>(pieces(region.bytes)), -1);
    return static_cast<int>(values_.size()) - 1;
  }

  std::string name(int value) const {
    if (value < 0) return "nothing";
    return std::string(values_[value].what) + " of layer " + std::to_string(values_[value].layer);
  }

  // B of a layer is needed when somebody below, or the stage before, wants a gradient.
  bool wants_input_grad(int layer) const {
    return stage_.has_previous ||
           std::any_of(layers_.begin(), layers_.begin() + layer,
                       [](const LayerPlan& below) { return !below.parameters.empty(); });
  }

  // Of one segment: F again where the stage recomputes, B, W.
  void segment(int g) {
    const int first = plan_.segment_first(g), end = plan_.segment_end(g);
    for (int i = first; i < end && stage_.recomputes; ++i) forward(i, true);
    if (stage_.recomputes && end == n_ && !stage_.has_next) loss();
    for (int i = end - 1; i >= first; --i) {
      EXPECT_EQ(i >= plan_.first_backward, wants_input_grad(i)) << "B of layer " << i;
      if (wants_input_grad(i)) backward_input(i);
    }
    for (int i = end - 1; i >= first; --i) {
      if (!layers_[i].parameters.empty()) backward_weight(i);
    }
  }

  void loss() { operation("loss", {outputs_[n_ - 1]}, {grads_[n_ - 1]}, -1); }

  void forward(int i, bool second) {
    std::vector<int> reads, writes = saved_[i];
    int input = -1;
    if (i > 0) input = second && second_[i - 1] >= 0 ? second_[i - 1] : outputs_[i - 1];
    if (i > 0) reads.push_back(input);
    writes.push_back(second && second_[i] >= 0 ? second_[i] : outputs_[i]);
    operation("F", reads, writes, layers_[i].in_place ? input : -1);
  }

  // What comes from the next stage, grads_[n - 1] there, is none of this plan's tensors.
  std::vector<int> own_grad(int i) const {
    if (i + 1 == n_ && stage_.has_next) return {};
    return {grads_[i]};
  }

  void backward_input(int i) {
    std::vector<int> reads = own_grad(i);
    reads.insert(reads.end(), saved_[i].begin(), saved_[i].end());
    if (layers_[i].output_needed_by_input) reads.push_back(outputs_[i]);
    operation("B", reads, {i > 0 ? grads_[i - 1] : input_grad_},
              layers_[i].in_place ? grads_[i] : -1);
  }

  void backward_weight(int i) {
    std::vector<int> reads = own_grad(i);
    if (layers_[i].input_needed_by_weight && i > 0) reads.push_back(outputs_[i - 1]);
    operation("W", reads, {}, -1);
  }

  // `replaceable`: the tensor that is read and may be written over at its own place, or -1.
  void operation(const char* kind, const std::vector<int>& reads, const std::vector<int>& writes,
                 int replaceable) {
    ++now_;
    for (const int read : reads) {
      ASSERT_GE(read, 0) << kind << " reads a tensor without a place";
      expect_owner(kind, read);
      values_[read].read = now_;
    }
    for (std::size_t w = 0; w < writes.size(); ++w) {
      ASSERT_GE(writes[w], 0) << kind << " writes a tensor without a place";
      const Place& place = values_[writes[w]].place;
      for (const int read : reads) {
        const Place& other = values_[read].place;
        ASSERT_TRUE(!overlap(place, other) || (read == replaceable && place.offset == other.offset))
            << kind << " writes " << name(writes[w]) << " into " << name(read);
      }
      for (std::size_t other = 0; other < w; ++other) {
        ASSERT_FALSE(overlap(place, values_[writes[other]].place)) << kind << name(writes[w]);
      }
      write(writes[w]);
    }
  }

  void expect_owner(const char* kind, int read) const {
    const Place& place = values_[read].place;
    for (std::int64_t at = begin(place); at < begin(place) + size(place); ++at) {
      const int owner = owner_[place.region][static_cast<std::size_t>(at)];
      ASSERT_EQ(owner, read) << kind << " reads " << name(read) << ", finds " << name(owner);
    }
  }

  void write(int value) {
    const Place& place = values_[value].place;
    const auto first = owner_[place.region].begin() + begin(place);
    std::fill(first, first + size(place), value);
    values_[value].written = values_[value].read = now_;
  }

  const std::vector<LayerPlan>& layers_;
  const StageMemory& stage_;
  const MemoryPlan& plan_;
  const int n_;
  int now_ = 0;
  std::vector<Value> values_;
  std::vector<std::vector<int>> owner_;  // [region][piece]: the value that is there, or -1
  std::vector<int> outputs_, second_, grads_;
  std::vector<std::vector<int>> saved_;
  int input_grad_ = -1;
};

}  // namespace stagecoach::testing
