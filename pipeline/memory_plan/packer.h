// Packer: gives tensors of one micro-batch their places in a slot of a region.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "pipeline/memory_plan.h"

namespace stagecoach {

// Tensors whose lifetimes touch get bytes of their own; those of a group share theirs.
class Packer {
 public:
  // A tensor that is needed from `first` to `last`. Returns its number. `with`: number of a tensor
  // whose memory it takes over, or -1.
  int add(const TensorSpec& spec, int first, int last, int with = -1) {
    if (with < 0) {
      group_.push_back(static_cast<int>(lifetimes_.size()));
      lifetimes_.push_back({spec.bytes(), first, last});
    } else {
      group_.push_back(group_[with]);
      Lifetime& shared = lifetimes_[group_[with]];
      shared.bytes = std::max(shared.bytes, spec.bytes());
      shared.first = std::min(shared.first, first);
      shared.last = std::max(shared.last, last);
    }
    specs_.push_back(spec);
    return static_cast<int>(specs_.size()) - 1;
  }
  // One that is needed all the time.
  int add(const TensorSpec& spec, int with = -1) { return add(spec, 0, 0, with); }

  // Adds the region, and returns its number; then place() holds.
  int pack(ArenaPlan& arena, std::string name, int count) {
    std::int64_t bytes = 0;
    offsets_ = place_by_lifetime(lifetimes_, bytes);
    return region_ = arena.add(std::move(name), bytes, count);
  }

  Place place(int number) const { return {region_, offsets_[group_[number]], specs_[number]}; }

 private:
  std::vector<Lifetime> lifetimes_;  // per group
  std::vector<int> group_;           // per tensor
  std::vector<TensorSpec> specs_;
  std::vector<std::int64_t> offsets_;
  int region_ = -1;
};

}  // namespace stagecoach
