#include "pipeline/flat_parameters.h"

#include "core/error.h"
#include "kernels/cast.h"

namespace stagecoach {

Tensor FlatParameters::copies() const {
  if (plan().copies < 0) return {};
  return tensors_.view(Place{plan().copies, 0, row_major(plan().flat.shape, DType::kBF16)});
}

void FlatParameters::refresh_copies() {
  if (plan().copies >= 0) cast(context_, copies(), values());
}

void FlatParameters::refresh_copies(Context& context, int bucket) {
  if (plan().copies < 0) return;
  const Elements& elements = plan().buckets[static_cast<std::size_t>(bucket)].elements;
  cast(context, elements_of(copies(), elements), elements_of(values(), elements));
}

// What is updated here lies in the states one part behind the other.
void FlatParameters::add_states(const std::string& name, const Place& place,
                                StateDict& state) const {
  if (optimizer_ == nullptr) return;
  constexpr std::int64_t kElement = sizeof(float);
  const std::int64_t first = place.offset / kElement;
  const Elements all{first, first + place.spec.elements()};
  Elements part;            // of the parameter
  std::int64_t offset = 0;  // of it, in the states
  std::int64_t before = 0;
  for (const Elements& updated : plan().updated) {
    const Elements here = common(all, updated);
    if (here.size() > 0) {
      part = {here.first - first, here.end - first};
      offset = (before + here.first - updated.first) * kElement;
    }
    before += updated.size();
  }
  for (std::size_t k = 0; k < plan().optimizer_states.size(); ++k) {
    const Place states{plan().optimizer_states[k], offset, row_major({part.size()})};
    state.add_part(fmt::format("{}.{}", name, optimizer_->states()[k].name),
                   StateKind::kOptimizerState, place.spec, part, tensors_.view(states));
  }
}

void FlatParameters::step(const Optimizer& optimizer, const Stepped& stepped) {
  for (int bucket = 0; bucket < std::ssize(plan().updated); ++bucket) {
    step_bucket(context_, optimizer, bucket);
    if (stepped) stepped(bucket);
  }
  // A failed stream skips all of it.
  if (context_.device() == Device{}) context_.stream().enqueue([this] { ++updates_.begun; });
}

void FlatParameters::step_bucket(Context& context, const Optimizer& optimizer, int bucket) {
  const std::vector<Elements>& updated = plan().updated;
  const Elements& part = updated[static_cast<std::size_t>(bucket)];
  if (part.size() == 0) return;
  std::int64_t offset = 0;  // of its states
  for (int before = 0; before < bucket; ++before) {
    offset += updated[static_cast<std::size_t>(before)].size() * size_of(DType::kF32);
  }
  FlatShard shard{elements_of(values(), part), elements_of(gradients(), part), {}, {}};
  if (copies().defined()) shard.copies = elements_of(copies(), part);
  for (const int region : plan().optimizer_states) {
    shard.states.push_back(tensors_.view(Place{region, offset, row_major({part.size()})}));
  }
  optimizer.step(context, shard);
}

void FlatParameters::end_update() {
  if (context_.device() == Device{}) context_.stream().enqueue([this] { ++updates_.ended; });
}

}  // namespace stagecoach
