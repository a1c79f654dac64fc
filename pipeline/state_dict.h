// StateDict: what a stage keeps from step to step, by names. It is asked by values alone: names and
// specs go out, copies in the CPU's memory go in and out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/stream.h"
#include "pipeline/gradient_buckets.h"

namespace stagecoach {

enum class StateKind : std::uint8_t {
  kParameter,       // "features.0.weight"
  kBuffer,          // state of a layer that no gradient moves: "features.1.running_mean"
  kOptimizerState,  // of a parameter, by PyTorch's name: "features.0.weight.exp_avg"
};

struct StateEntry {
  std::string name;
  StateKind kind = StateKind::kParameter;
  TensorSpec spec;
};

class StateDict {
 public:
  // `stream`: orders the copies behind the stage's work; outlives this.
  explicit StateDict(Stream& stream) : stream_(stream) {}

  // Error when there is one of this name. `tensor` stays the stage's.
  void add(const std::string& name, StateKind kind, const Tensor& tensor);
  // Of a tensor of which only some elements are here, maybe none: `part` of it, flat, in `tensor`.
  // What follows reads and writes those; `whole` is the entry's spec.
  void add_part(const std::string& name, StateKind kind, const TensorSpec& whole,
                const Elements& part, const Tensor& tensor);

  // In the order in which they were added.
  const std::vector<StateEntry>& entries() const { return entries_; }
  bool has(const std::string& name) const { return find(name) >= 0; }
  // The rest throws Error for a name that is not there.
  const Elements& part(const std::string& name) const { return held_[index_of(name)].part; }
  bool is_whole(const std::string& name) const;
  // What is here of it, flat: the stage's own memory, which its stream may be writing.
  const Tensor& tensor(const std::string& name) const { return held_[index_of(name)].tensor; }
  // What follows blocks until it is done. get(): Error unless it is whole.
  OwnedTensor get(const std::string& name) const;
  // Into memory of the CPU that is there already, of the entry's spec.
  void read(const std::string& name, const Tensor& destination) const;
  // Error unless `value`, in the CPU's memory, has the entry's spec.
  void set(const std::string& name, const Tensor& value);
  // Whether no element is infinity or NaN.
  bool is_finite(const std::string& name) const;

 private:
  int find(const std::string& name) const;  // -1: there is none
  std::size_t index_of(const std::string& name) const;

  Stream& stream_;
  std::vector<StateEntry> entries_;
  struct Held {
    Elements part;
    Tensor tensor;  // flat
  };
  std::vector<Held> held_;  // of the entries
};

// Whether no element is infinity or NaN; true for other types than F32 and BF16. The tensor is in
// the CPU's memory; reads on the caller's thread.
bool all_finite(const Tensor& tensor);
// Of a tensor anywhere, after all that was enqueued on `stream`. Blocks.
bool all_finite(Stream& stream, const Tensor& tensor);

}  // namespace stagecoach
