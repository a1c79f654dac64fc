// What a stage has from step to step, and how a step changes it.
#include "core/error.h"
#include "kernels/cast.h"
#include "kernels/gradient_norm.h"
#include "pipeline/stage.h"

namespace stagecoach {

// Those of the elements that this stage updates.
void Stage::add_optimizer_states(const std::string& name, const Place& place) {
  constexpr std::int64_t kElement = sizeof(float);
  const MemoryPlan& plan = memory_plan();
  const std::int64_t first = place.offset / kElement;
  Elements here;  // of the stage
  std::int64_t offset = 0, before = 0;
  for (const Elements& updated : plan.updated) {
    const Elements both = common({first, first + place.spec.elements()}, updated);
    if (both.size() > 0) {
      here = both;
      offset = before + (both.first - updated.first) * kElement;
    }
    before += updated.size() * kElement;
  }
  const Elements part =
      here.size() > 0 ? Elements{here.first - first, here.end - first} : Elements{};
  for (std::size_t k = 0; k < plan.optimizer_states.size(); ++k) {
    state_.add_part(
        fmt::format("{}.{}", name, options_.optimizer->states()[k].name),
        StateKind::kOptimizerState, place.spec, part,
        tensors_.view(Place{plan.optimizer_states[k], offset, row_major({here.size()})}));
  }
}

void Stage::sum_squares_of_gradients(double* sums) {
  use_workspace();
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    sum_of_squares(context_, sums + parameter_index_[i], parameters_[i].grad);
  }
}

void Stage::clip_gradients(std::span<const double> sums, double max_norm, double* norms) {
  stagecoach::clip_gradients(context_, parameters_.empty() ? Tensor{} : gradients(), sums, max_norm,
                             norms);
}

void Stage::optimizer_step(const Optimizer& optimizer) {
  const Tensor copies = flat_copies();
  std::int64_t offset = 0;  // in the states
  for (const Elements& updated : memory_plan().updated) {
    if (updated.size() == 0) continue;
    FlatShard shard{elements_of(flat_parameters(), updated),
                    elements_of(gradients(), updated),
                    {},
                    copies.defined() ? elements_of(copies, updated) : Tensor{}};
    for (const int region : memory_plan().optimizer_states) {
      shard.states.push_back(tensors_.view(Place{region, offset, row_major({updated.size()})}));
    }
    optimizer.step(context_, shard);
    offset += updated.size() * size_of(DType::kF32);
  }
  // A failed stream skips all of it.
  if (context_.device() == Device{}) context_.stream().enqueue([this] { ++updates_.begun; });
}

void Stage::end_update() {
  if (context_.device() == Device{}) context_.stream().enqueue([this] { ++updates_.ended; });
}

Tensor Stage::flat_copies() const {
  const MemoryPlan& plan = memory_plan();
  if (plan.copies < 0) return {};
  return tensors_.view(Place{plan.copies, 0, row_major(plan.flat.shape, DType::kBF16)});
}

void Stage::refresh_copies() {
  const MemoryPlan& plan = memory_plan();
  if (plan.copies < 0) return;
  cast(context_, flat_copies(), tensors_.view(Place{plan.parameters, 0, plan.flat}));
}

void Stage::set_state(const std::string& name, const Tensor& value) {
  state_.set(name, value);
  refresh_copies();
  context_.stream().synchronize();
}

void Stage::initialize(std::uint64_t seed, InitScheme scheme) {
  std::size_t next = 0;
  for (int i = 0; i < size(); ++i) {
    const LayerPlan& plan = layer_plan(i);
    for (std::size_t p = 0; p < values_[i].size(); ++p, ++next) {
      const ParameterSpec& spec = plan.parameters[p];
      const RandomStream stream{.seed = seed,
                                .use = RandomUse::kInitialWeights,
                                .layer = static_cast<std::uint32_t>(parameter_index_[next])};
      const bool last = options_.first + i + 1 == network_.size();
      const Shape& whole = spec.global.rank() > 0 ? spec.global : spec.spec.shape;
      stagecoach::initialize(context_, parameters_[next].value,
                             last ? spec.init : init_of(scheme, spec.name, whole, spec.init),
                             stream, spec.global, spec.offset);
    }
    for (std::size_t k = 0; k < plan.buffers.size(); ++k) {
      const TensorSpec& spec = plan.buffers[k].spec;
      stagecoach::initialize(context_, buffers_[i][k], plan.buffers[k].init, {.seed = seed},
                             spec.shape);
    }
  }
  refresh_copies();
}

}  // namespace stagecoach
