#include "pipeline/stage.h"

#include <algorithm>
#include <cmath>

#include "core/bfloat16.h"
#include "core/copy.h"
#include "core/error.h"
#include "kernels/cast.h"
#include "kernels/softmax_cross_entropy.h"
#include "kernels/uniform.h"

namespace stagecoach {
namespace {

template <typename T>
bool all_finite_as(const Tensor& tensor) {
  const T* data = tensor.as<T>();
  return std::all_of(data, data + tensor.elements(),
                     [](T x) { return std::isfinite(static_cast<float>(x)); });
}

std::string name_of_buffer(const char* what, const StageOptions& options) {
  return fmt::format("{} of layers {} - {}", what, options.first, options.end - 1);
}

}  // namespace

int BufferOwners::take(std::int64_t micro) {
  STAGECOACH_CHECK(!has(micro), "a step", fmt::format("one {} for micro-batch {}", what_, micro),
                   "two");
  const auto free = std::ranges::find(owner_, kFree);
  STAGECOACH_CHECK(free != owner_.end(), "a step",
                   fmt::format("a free {} for micro-batch {}", what_, micro),
                   fmt::format("all {} in use", owner_.size()));
  *free = micro;
  return static_cast<int>(free - owner_.begin());
}

int BufferOwners::of(std::int64_t micro) const {
  const auto own = std::ranges::find(owner_, micro);
  STAGECOACH_CHECK(own != owner_.end(), "a step",
                   fmt::format("a {} that micro-batch {} has", what_, micro), "none");
  return static_cast<int>(own - owner_.begin());
}

int BufferOwners::give(std::int64_t micro) {
  const int index = of(micro);
  owner_[index] = kFree;
  return index;
}

bool all_finite(const Tensor& tensor) {
  if (tensor.spec.dtype == DType::kF32) return all_finite_as<float>(tensor);
  return tensor.spec.dtype != DType::kBF16 || all_finite_as<BFloat16>(tensor);
}

bool all_finite(Stream& stream, const Tensor& tensor) {
  if (tensor.device.type != DeviceType::kCpu) return all_finite(to_host(stream, tensor).tensor);
  stream.synchronize();
  return all_finite(tensor);
}

void check_finite_losses(const Tensor& losses, const MicroBatch& micro) {
  const auto* loss = losses.as<float>();
  for (std::int64_t row = 0; row < losses.elements(); ++row) {
    if (std::isfinite(loss[row])) continue;
    throw NumericError(
        fmt::format("training step {}", micro.step + 1), "a finite loss",
        fmt::format("{} for sample {} of micro-batch {}", loss[row], row, micro.index));
  }
}

Stage::Stage(const Network& network, const std::vector<LayerPlan>& plans,
             const StageOptions& options, Context& context)
    : network_(network),
      options_(options),
      layer_plans_(plans.begin() + options.first, plans.begin() + options.end),
      plan_(plan_memory(layer_plans_, options.memory)),
      arena_(plan_.arena, context.device()),
      slots_(name_of_buffer("slot", options), options.memory.slots),
      received_(name_of_buffer("input", options), options.memory.received),
      received_gradients_(name_of_buffer("received gradient", options),
                          options.memory.received_gradients),
      gradient_slots_(name_of_buffer("gradient slot", options), options.memory.gradient_slots),
      inputs_(static_cast<std::size_t>(options.memory.received)),
      output_grads_(static_cast<std::size_t>(options.memory.gradient_slots)),
      context_(context) {
  // What is not taken and given with the micro-batches is in use as long as the stage lives;
  // outputs and input gradients too, as the neighbours hold their addresses.
  const auto regions = static_cast<int>(plan_.arena.regions().size());
  for (int region = 0; region < regions; ++region) {
    if (region == plan_.slots || region == plan_.gradient_slots) continue;
    for (int i = 0; i < plan_.arena.regions()[region].count; ++i) arena_.take(region, i);
  }
  values_.resize(plan_.parameter.size());
  grads_.resize(plan_.parameter.size());
  const std::vector<NamedParameter> named = parameters_of(network, plans);
  for (std::size_t i = 0; i < named.size(); ++i) {
    if (named[i].layer < options.first || named[i].layer >= options.end) continue;
    const int layer = named[i].layer - options.first;
    const Place& place = plan_.parameter[layer][values_[layer].size()];
    const Place& used = plan_.copies < 0 ? place : plan_.copy[layer][values_[layer].size()];
    values_[layer].push_back(arena_.view(used.region, 0, used.offset, used.spec));
    grads_[layer].push_back(arena_.view(plan_.gradients, 0, place.offset, place.spec));
    parameters_.push_back({named[i].name, arena_.view(place.region, 0, place.offset, place.spec),
                           grads_[layer].back()});
    parameter_index_.push_back(static_cast<int>(i));
  }
}

// What is still enqueued uses this stage's memory.
Stage::~Stage() {
  context_.stream().reset();
}

// Another stage of the rank may have set its own.
void Stage::use_workspace() const {
  const std::int64_t bytes = plan_.arena.regions()[plan_.workspace].bytes;
  context_.set_workspace(arena_.view(plan_.workspace, 0, 0, row_major({bytes}, DType::kU8)));
}

std::int64_t Stage::parameter_count() const {
  std::int64_t count = 0;
  for (const Parameter& parameter : parameters_) count += parameter.value.elements();
  return count;
}

// Which of a region's buffers the micro-batch has.
int Stage::index_of(int region, std::int64_t micro) const {
  if (region == plan_.slots) return slots_.of(micro);
  if (region == plan_.gradient_slots) return gradient_slots_.of(micro);
  if (region == plan_.received_gradients) return received_gradients_.of(micro);
  if (region == plan_.received_activations || region == plan_.checkpoints) {
    return received_.of(micro);
  }
  return static_cast<int>(micro % plan_.arena.regions()[region].count);
}

Tensor Stage::view(const Place& place, std::int64_t micro) const {
  return arena_.view(place.region, index_of(place.region, micro), place.offset, place.spec);
}

Tensor Stage::view(const std::optional<Place>& place, std::int64_t micro) const {
  return place ? view(*place, micro) : Tensor{};
}

Tensor Stage::output(std::int64_t micro) const {
  return view(plan_.output.back(), micro);
}

Tensor Stage::input_grad(std::int64_t micro) const {
  return view(plan_.input_grad, micro);
}

bool Stage::has_output(std::int64_t micro) const {
  const auto m = static_cast<std::size_t>(micro);
  return m < progress_.size() && progress_[m] == Progress::kForward;
}

bool Stage::has_input_grad(std::int64_t micro) const {
  const auto m = static_cast<std::size_t>(micro);
  return m < progress_.size() && progress_[m] >= Progress::kBackward;
}

Tensor Stage::output_of(int layer, std::int64_t micro, bool second) const {
  const std::optional<Place>& other = plan_.second_output[layer];
  return view(second && other ? *other : plan_.output[layer], micro);
}

Tensor Stage::input_of(int layer, std::int64_t micro) const {
  if (layer > 0) return output_of(layer - 1, micro);
  return inputs_[static_cast<std::size_t>(received_.of(micro))];
}

Tensor Stage::output_grad_of(int layer, std::int64_t micro) const {
  if (layer + 1 < size()) return view(plan_.output_grad[layer], micro);
  if (is_last()) return view(plan_.logits_grad, micro);
  return output_grads_[static_cast<std::size_t>(gradient_slots_.of(micro))];
}

Tensor Stage::input_grad_of(int layer, std::int64_t micro) const {
  return layer > 0 ? view(plan_.output_grad[layer - 1], micro) : input_grad(micro);
}

std::vector<Tensor> Stage::saved_of(int layer, std::int64_t micro) const {
  std::vector<Tensor> tensors;
  for (const Place& place : plan_.saved[layer]) tensors.push_back(view(place, micro));
  return tensors;
}

void Stage::begin_step() {
  for (BufferOwners* owners : {&slots_, &received_, &received_gradients_, &gradient_slots_}) {
    owners->clear();
  }
  std::ranges::fill(progress_, Progress::kNone);
  weights_ = 0;
}

void Stage::take(int region, BufferOwners& owners, std::int64_t micro) {
  arena_.take(region, owners.take(micro));
}

void Stage::give(int region, BufferOwners& owners, std::int64_t micro) {
  arena_.give(region, owners.give(micro));
}

std::vector<Tensor> Stage::receive_input(std::int64_t micro) {
  if (!plan_.received_input) return {};
  received_.take(micro);
  return {view(plan_.received_input, micro)};
}

std::vector<Tensor> Stage::receive_output_grad(std::int64_t micro) {
  if (!plan_.received_output_grad) return {};
  received_gradients_.take(micro);
  return {view(plan_.received_output_grad, micro)};
}

void Stage::forward_segment(int segment, const MicroBatch& micro, bool second) {
  for (int i = plan_.segment_first(segment); i < plan_.segment_end(segment); ++i) {
    forward_layer(i, micro, second);
  }
}

void Stage::forward_layer(int i, const MicroBatch& micro, bool second) {
  // Within the outputs that a second F writes elsewhere, so are the inputs.
  const bool from_second = second && i > 0 && plan_.second_output[i - 1];
  const Tensor output = output_of(i, micro.index, second);
  const Tensor input = from_second ? output_of(i - 1, micro.index, true) : input_of(i, micro.index);
  const LayerPlan& plan = layer_plan(i);
  if (plan.forward_is_copy) return copy_unless_same(output, input);
  const std::vector<Tensor> saved = saved_of(i, micro.index);
  layer(i).forward(context_,
                   {output, input, values_[i], saved, plan.activation, plan.input_from_relu}, micro,
                   static_cast<std::uint32_t>(options_.first + i));
}

// Layers that work in place have one memory for both; at the edge of a stage it is a neighbour's.
void Stage::copy_unless_same(const Tensor& to, const Tensor& from) {
  if (to.data != from.data) copy(context_.stream(), to, from);
}

void Stage::forward(const Tensor& input, const Tensor& labels, std::int64_t batch,
                    const MicroBatch& micro, bool keep) {
  check_tensor(context_, "Stage::forward", "input", input, layer_plan(0).input);
  const auto m = static_cast<std::size_t>(micro.index);
  if (progress_.size() <= m) progress_.resize(m + 1, Progress::kNone);
  STAGECOACH_CHECK(!micro.training || progress_[m] == Progress::kNone, "Stage::forward",
                   "one F of a micro-batch", fmt::format("another one of {}", m));
  if (!received_.has(micro.index)) received_.take(micro.index);
  inputs_[static_cast<std::size_t>(received_.of(micro.index))] = input;
  take(plan_.slots, slots_, micro.index);
  progress_[m] = Progress::kForward;
  use_workspace();
  for (int segment = 0; segment < segments(); ++segment) forward_segment(segment, micro, false);
  if (is_last()) compute_loss(labels, batch, micro);
  if (!micro.training || !keep) give(plan_.slots, slots_, micro.index);
  if (!micro.training) received_.give(micro.index);
}

void Stage::recompute(const Tensor& labels, std::int64_t batch, const MicroBatch& micro) {
  STAGECOACH_CHECK(has_output(micro.index), "Stage::recompute", "F before R and R before B",
                   fmt::format("R of micro-batch {}", micro.index));
  take(plan_.slots, slots_, micro.index);
  use_workspace();
  forward_segment(segments() - 1, micro, true);
  if (is_last()) compute_loss(labels, batch, micro);
}

void Stage::recompute_segment(int segment, const MicroBatch& micro) {
  use_workspace();
  forward_segment(segment, micro, true);
}

void Stage::compute_loss(const Tensor& labels, std::int64_t batch, const MicroBatch& micro) {
  const std::int64_t rows = labels.elements();
  const Tensor losses = rows_of(this->losses(), micro.first_sample, rows);
  const Tensor correct = rows_of(this->correct(), micro.first_sample, rows);
  softmax_cross_entropy(context_, losses, correct, view(plan_.logits_grad, micro.index),
                        output_of(size() - 1, micro.index), labels,
                        1.0f / static_cast<float>(batch));
  if (!micro.training || context_.device().type != DeviceType::kCpu) return;
  context_.stream().enqueue([losses, micro] { check_finite_losses(losses, micro); });
}

void Stage::backward_input(const Tensor& output_grad, const MicroBatch& micro, int segment) {
  if (!is_last()) {
    check_tensor(context_, "Stage::backward_input", "output_grad", output_grad,
                 layer_plans_.back().output);
  }
  if (segment + 1 == segments()) {
    STAGECOACH_CHECK(has_output(micro.index), "Stage::backward_input", "one B after F",
                     fmt::format("that of micro-batch {}", micro.index));
    if (!gradient_slots_.has(micro.index)) take(plan_.gradient_slots, gradient_slots_, micro.index);
    output_grads_[static_cast<std::size_t>(gradient_slots_.of(micro.index))] = output_grad;
  }
  use_workspace();
  const int first = std::max(plan_.segment_first(segment), plan_.first_backward);
  for (int i = plan_.segment_end(segment) - 1; i >= first; --i) backward_layer(i, micro);
  if (segment == 0) progress_[static_cast<std::size_t>(micro.index)] = Progress::kBackward;
}

void Stage::backward_layer(int i, const MicroBatch& micro) {
  const Tensor input_grad = input_grad_of(i, micro.index);
  const Tensor output_grad = output_grad_of(i, micro.index);
  if (layer_plan(i).backward_is_copy) return copy_unless_same(input_grad, output_grad);
  const std::vector<Tensor> saved = saved_of(i, micro.index);
  const Tensor output = layer_plan(i).output_needed_by_input ? output_of(i, micro.index) : Tensor{};
  layer(i).backward_input(context_, {input_grad, output_grad, output, values_[i], saved}, micro,
                          static_cast<std::uint32_t>(options_.first + i));
}

void Stage::backward_weight(const MicroBatch& micro, int segment) {
  const auto mode = micro.index == 0 ? GradientMode::kOverwrite : GradientMode::kAccumulate;
  use_workspace();
  for (int i = plan_.segment_end(segment) - 1; i >= plan_.segment_first(segment); --i) {
    if (values_[i].empty()) continue;
    const Tensor input = layer_plan(i).input_needed_by_weight ? input_of(i, micro.index) : Tensor{};
    layer(i).backward_weight(context_, {grads_[i], output_grad_of(i, micro.index), input, mode});
  }
  if (segment > 0) return;
  Progress& progress = progress_.at(static_cast<std::size_t>(micro.index));
  STAGECOACH_CHECK(progress == Progress::kBackward, "Stage::backward_weight", "one W after B",
                   fmt::format("that of micro-batch {}", micro.index));
  STAGECOACH_CHECK(
      micro.index == weights_, "Stage::backward_weight",
      fmt::format("W of micro-batch {}, as gradients are added in one order", weights_),
      fmt::format("that of {}", micro.index));
  progress = Progress::kWeight;
  ++weights_;
  give(plan_.gradient_slots, gradient_slots_, micro.index);
  give(plan_.slots, slots_, micro.index);
  received_.give(micro.index);
  if (received_gradients_.has(micro.index)) received_gradients_.give(micro.index);
}

void Stage::optimizer_step(const Optimizer& optimizer, std::int64_t step) {
  if (parameters_.empty()) return;
  STAGECOACH_CHECK(optimizer.states() == options_.memory.optimizer_states, "optimizer_step",
                   fmt::format("{} planned optimizer states", optimizer.states()),
                   fmt::format("{}", options_.memory.optimizer_states));
  const auto flat = [this](int region) { return arena_.view(region, 0, 0, plan_.flat); };
  const Tensor parameters = flat(plan_.parameters), grads = flat(plan_.gradients);
  const Tensor copies = flat_copies();
  const Tensor state = flat(plan_.optimizer_states[0]);
  if (optimizer.kind == Optimizer::Kind::kSgd) {
    sgd_step(context_, parameters, state, grads, optimizer.sgd, copies);
  } else {
    adam_step(context_, parameters, state, flat(plan_.optimizer_states[1]), grads, optimizer.adam,
              step + 1, copies);
  }
}

Tensor Stage::flat_copies() const {
  if (plan_.copies < 0) return {};
  return arena_.view(plan_.copies, 0, 0, row_major(plan_.flat.shape, DType::kBF16));
}

void Stage::refresh_copies() {
  if (plan_.copies < 0) return;
  cast(context_, flat_copies(), arena_.view(plan_.parameters, 0, 0, plan_.flat));
}

void Stage::initialize(std::uint64_t seed) {
  std::size_t next = 0;
  for (int i = 0; i < size(); ++i) {
    for (std::size_t p = 0; p < values_[i].size(); ++p, ++next) {
      const RandomStream stream{.seed = seed,
                                .use = RandomUse::kInitialWeights,
                                .layer = static_cast<std::uint32_t>(parameter_index_[next])};
      fill_uniform(context_, parameters_[next].value, layer_plan(i).parameters[p].init_bound,
                   stream);
    }
  }
  refresh_copies();
}

int Stage::first_nonfinite_layer(const Tensor& input, const MicroBatch& micro) {
  if (!received_.has(micro.index)) received_.take(micro.index);
  inputs_[static_cast<std::size_t>(received_.of(micro.index))] = input;
  if (!slots_.has(micro.index)) slots_.take(micro.index);
  use_workspace();
  for (int i = 0; i < size(); ++i) {
    forward_layer(i, micro);
    if (!all_finite(context_.stream(), output_of(i, micro.index))) return options_.first + i;
  }
  return -1;
}

}  // namespace stagecoach
