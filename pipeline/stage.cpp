#include "pipeline/stage.h"

#include <algorithm>

#include "core/copy.h"
#include "core/error.h"
#include "kernels/add.h"
#include "kernels/finite.h"
#include "kernels/gradient_norm.h"
#include "pipeline/replica_sum.h"

namespace stagecoach {
namespace {

std::string name_of(const StageOptions& options) {
  return fmt::format("layers {} - {}", options.first, options.end - 1);
}

}  // namespace

Stage::Stage(const Network& network, const std::vector<LayerPlan>& plans,
             const StageOptions& options, Context& context)
    : network_(network),
      options_(options),
      tensors_(stage_graph(network, plans, options.first, options.end), options.memory,
               context.device(), name_of(options)),
      flat_(tensors_, options.optimizer, context),
      state_(context.stream()),
      tree_(tree_of_run(options.memory)),
      context_(context) {
  const MemoryPlan& plan = memory_plan();
  values_.resize(plan.parameter.size());
  buffers_ = views_of(plan.buffer);
  prepared_ = views_of(plan.prepared_of);
  for (int run = 0; run < options.memory.runs; ++run) runs_.push_back(make_run(run));
  const std::vector<NamedParameter> named = parameters_of(network, plans);
  for (std::size_t i = 0; i < named.size(); ++i) {
    if (named[i].layer < options.first || named[i].layer >= options.end) continue;
    const int layer = named[i].layer - options.first;
    const Place& place = plan.parameter[layer][values_[layer].size()];
    const Place& used = plan.copies < 0 ? place : plan.copy[layer][values_[layer].size()];
    const Tensor gradient = runs_[0].grads[layer][values_[layer].size()];
    values_[layer].push_back(tensors_.view(used));
    parameters_.push_back({named[i].name, tensors_.view(place), gradient});
    parameter_index_.push_back(static_cast<int>(i));
    state_.add(named[i].name, StateKind::kParameter, parameters_.back().value);
    flat_.add_states(named[i].name, place, state_);
  }
  for (int i = 0; i < end() - first(); ++i) {
    for (std::size_t k = 0; k < buffers_[i].size(); ++k) {
      const std::string& name = layer_plan(i).buffers[k].name;
      state_.add(network[first() + i].name + "." + name, StateKind::kBuffer, buffers_[i][k]);
    }
  }
}

std::vector<std::vector<Tensor>> Stage::views_of(const std::vector<std::vector<Place>>& places,
                                                 int number) const {
  std::vector<std::vector<Tensor>> views;
  for (const std::vector<Place>& of_layer : places) {
    std::vector<Tensor>& tensors = views.emplace_back();
    for (const Place& place : of_layer) tensors.push_back(tensors_.view(place, number));
  }
  return views;
}

Stage::Run Stage::make_run(int number) const {
  const MemoryPlan& plan = memory_plan();
  const auto in_region = [&](int region, int of_region) {
    std::vector<std::vector<Place>> places = plan.parameter;
    for (std::vector<Place>& of_layer : places) {
      for (Place& place : of_layer) place.region = region;
    }
    return views_of(places, of_region);
  };
  const auto flat = [&](int region, int of_region) {
    return tensors_.view(Place{region, 0, plan.flat}, of_region);
  };
  const bool first = number == 0;
  const int region = first ? plan.gradients : plan.run_gradients;
  Run run;
  run.grads = in_region(region, first ? 0 : number - 1);
  run.flat = flat(region, first ? 0 : number - 1);
  run.weight_state = views_of(plan.weight_state_of, number);
  for (const int level : plan.waiting_gradients) run.flat_waiting.push_back(flat(level, number));
  if (!plan.waiting_gradients.empty()) {
    run.waiting = in_region(plan.waiting_gradients.front(), number);
  }
  return run;
}

// What is still enqueued uses this stage's memory.
Stage::~Stage() {
  context_.stream().reset();
}

// Another stage of the rank may have set its own.
void Stage::use_workspace() const {
  const int region = memory_plan().workspace;
  const std::int64_t bytes = memory_plan().arena.regions()[region].bytes;
  context_.set_workspace(tensors_.view(Place{region, 0, row_major({bytes}, DType::kU8)}));
}

std::int64_t Stage::parameter_count() const {
  std::int64_t count = 0;
  for (const Parameter& parameter : parameters_) count += parameter.value.elements();
  return count;
}

bool Stage::has_output(std::int64_t micro) const {
  const auto m = static_cast<std::size_t>(micro);
  return m < progress_.size() && progress_[m] == Progress::kForward;
}

bool Stage::has_input_grad(std::int64_t micro) const {
  const auto m = static_cast<std::size_t>(micro);
  return m < progress_.size() && progress_[m] >= Progress::kBackward;
}

void Stage::begin_step() {
  tensors_.begin_step();
  std::ranges::fill(progress_, Progress::kNone);
  weights_ = 0;
  for (Run& run : runs_) run.weights = 0;
  prepared_once_ = ended_ = false;
}

void Stage::prepare_once(const MicroBatch& micro) {
  if (std::exchange(prepared_once_, true)) return;
  for (int i = 0; i < size(); ++i) {
    if (!layer_plan(i).prepared.empty()) {
      layer(i).prepare(context_, layer_plan(i), call_of(i, micro));
    }
  }
}

// Layers that work in place have one memory for both; at the edge of a stage it is a neighbour's.
void Stage::copy_unless_same(const Tensor& to, const Tensor& from) {
  if (to.data != from.data) copy(context_.stream(), to, from);
}

// The loss's outputs for the rows of a micro-batch.
Tensor Stage::result_of(int output, const MicroBatch& micro) const {
  const Tensor results = output == 0 ? losses() : correct();
  return rows_of(results, micro.first_sample,
                 layer_plan(graph().loss()).outputs[static_cast<std::size_t>(output)].shape[0]);
}

LayerCall Stage::call_of(int i, const MicroBatch& micro) {
  call_.saved.clear();
  for (const Place& place : memory_plan().saved[i]) {
    call_.saved.push_back(tensors_.view(place, micro.index));
  }
  const Run& run = run_of(micro.index);
  LayerCall call;
  call.parameters = values_[i];
  call.parameter_grads = tree_.waits(tree_.group_of(run.weights)) ? run.waiting[i] : run.grads[i];
  call.buffers = buffers_[i];
  call.prepared = prepared_[i];
  call.weight_state = run.weight_state[i];
  call.saved = call_.saved;
  call.micro = micro;
  call.layer = static_cast<std::uint32_t>(options_.first + i);
  call.weight_calls = tree_.before_in_group(run.weights);
  call.last_weight = tree_.ends_group(run.weights);
  return call;
}

void Stage::fill_inputs(int i, const MicroBatch& micro, int second_from) {
  call_.inputs.clear();
  for (const int v : graph().inputs[i]) {
    call_.inputs.push_back(tensors_.value(v, micro.index, second_from));
  }
}

void Stage::fill_outputs(int i, const MicroBatch& micro, int second_from) {
  call_.outputs.clear();
  for (const int v : graph().outputs[i]) {
    call_.outputs.push_back(i == graph().loss() ? result_of(graph().values[v].output, micro)
                                                : tensors_.value(v, micro.index, second_from));
  }
}

void Stage::fill_output_grads(int i, std::int64_t micro) {
  call_.output_grads.clear();
  for (const int v : graph().outputs[i]) call_.output_grads.push_back(tensors_.gradient(v, micro));
}

void Stage::forward_segment(int segment, const MicroBatch& micro, bool second) {
  const int first = memory_plan().segment_first(segment);
  for (int i = first; i < memory_plan().segment_end(segment); ++i) {
    forward_layer(i, micro, second ? first : size());
  }
}

void Stage::forward_layer(int i, const MicroBatch& micro, int second_from) {
  fill_inputs(i, micro, second_from);
  fill_outputs(i, micro, second_from);
  if (layer_plan(i).fused.forward_is_copy) {
    return copy_unless_same(call_.outputs[0], call_.inputs[0]);
  }
  LayerCall call = call_of(i, micro);
  call.inputs = call_.inputs;
  call.outputs = call_.outputs;
  call.recompute = i >= second_from;
  if (micro.training && !call.recompute) {
    fill_step_state(i, micro.index);
    call.step_state = call_.step_state;
  }
  layer(i).forward(context_, layer_plan(i), call);
  if (i == graph().loss() && micro.training) raise_unless_finite(context_, call_.outputs[0]);
}

// Of this micro-batch, out of what is kept of all of the step.
void Stage::fill_step_state(int i, std::int64_t micro) {
  call_.step_state.clear();
  for (std::size_t k = 0; k < layer_plan(i).step_state.size(); ++k) {
    Place place = memory_plan().step_state_of[i][k];
    place.spec = layer_plan(i).step_state[k];
    place.offset += micro * place.spec.bytes();
    call_.step_state.push_back(tensors_.view(place));
  }
}

// What was copied here from another device and is handed on is copied into the buffers that later
// stages read: the one that it came into is free when this stage has read it.
void Stage::hand_on_copies(std::int64_t micro) {
  for (const int v : graph().sent) {
    const MaybePlace& place = memory_plan().value[v];
    if (graph().values[v].maker >= 0 || !place) continue;
    copy(context_.stream(), tensors_.view(place, micro), tensors_.received(v, micro));
  }
}

void Stage::hand_on_gradient_copies(std::int64_t micro) {
  for (const int v : graph().gradients_sent) {
    const MaybePlace& place = memory_plan().gradient[v];
    if (!graph().values[v].parts.empty() || !place) continue;
    copy(context_.stream(), tensors_.view(place, micro), tensors_.received_gradient(v, micro));
  }
}

void Stage::forward(std::span<const Tensor> inputs, const Tensor& targets, const MicroBatch& micro,
                    bool keep) {
  const auto m = static_cast<std::size_t>(micro.index);
  if (progress_.size() <= m) progress_.resize(m + 1, Progress::kNone);
  STAGECOACH_CHECK(!micro.training || progress_[m] == Progress::kNone, "Stage::forward",
                   "one F of a micro-batch", fmt::format("another one of {}", m));
  tensors_.set_inputs("Stage::forward", inputs, targets, micro.index);
  tensors_.take_slot(micro.index);
  progress_[m] = Progress::kForward;
  use_workspace();
  prepare_once(micro);
  hand_on_copies(micro.index);
  for (int segment = 0; segment < segments(); ++segment) forward_segment(segment, micro, false);
  if (!micro.training || !keep) tensors_.give_slot(micro.index);
  if (!micro.training) tensors_.give_inputs(micro.index);
}

void Stage::recompute(const MicroBatch& micro) {
  STAGECOACH_CHECK(has_output(micro.index), "Stage::recompute", "F before R and R before B",
                   fmt::format("R of micro-batch {}", micro.index));
  tensors_.take_slot(micro.index);
  recompute_segment(segments() - 1, micro);
}

void Stage::recompute_segment(int segment, const MicroBatch& micro) {
  use_workspace();
  forward_segment(segment, micro, true);
}

void Stage::backward_input(std::span<const Tensor> output_grads, const MicroBatch& micro,
                           int segment) {
  if (segment + 1 == segments()) {
    STAGECOACH_CHECK(has_output(micro.index), "Stage::backward_input", "one B after F",
                     fmt::format("that of micro-batch {}", micro.index));
    tensors_.set_output_grads("Stage::backward_input", output_grads, micro.index);
    hand_on_gradient_copies(micro.index);
  }
  use_workspace();
  for (int i = memory_plan().segment_end(segment) - 1; i >= memory_plan().segment_first(segment);
       --i) {
    if (!graph().runs_backward[i]) continue;
    // A loss may have made the gradient in F, where it is read.
    if (!layer_plan(i).saved_is_input_grad) backward_layer(i, micro);
    add_parts(i, micro.index);
  }
  if (segment == 0) progress_[static_cast<std::size_t>(micro.index)] = Progress::kBackward;
}

void Stage::backward_layer(int i, const MicroBatch& micro) {
  fill_output_grads(i, micro.index);
  call_.input_grads.clear();
  for (const MaybePlace& part : memory_plan().part[i]) {
    call_.input_grads.push_back(tensors_.view(part, micro.index));
  }
  if (layer_plan(i).fused.backward_is_copy) {
    return copy_unless_same(call_.input_grads[0], call_.output_grads[0]);
  }
  LayerCall call = call_of(i, micro);
  call.input_grads = call_.input_grads;
  call.output_grads = call_.output_grads;
  if (layer_plan(i).inputs_needed_by_input) {
    fill_inputs(i, micro, size());
    call.inputs = call_.inputs;
  }
  if (layer_plan(i).outputs_needed_by_input) {
    fill_outputs(i, micro, size());
    call.outputs = call_.outputs;
  }
  layer(i).backward_input(context_, layer_plan(i), call);
}

// The first part of a gradient lies where the sum is to be, and that of later stages is added to
// it; each further one was written apart. Sums are rounded to the value's type after each part, in
// every stage, so no cut changes them.
void Stage::add_parts(int i, std::int64_t micro) {
  for (int k = static_cast<int>(graph().inputs[i].size()) - 1; k >= 0; --k) {
    const MaybePlace& part = memory_plan().part[i][k];
    if (!part) continue;
    const int v = graph().inputs[i][k];
    const StageValue& value = graph().values[v];
    const Tensor sum = tensors_.gradient(v, micro);
    if (value.parts.front() != ValueReader{i, k}) {
      add(context_, sum, sum, tensors_.view(part, micro));
    } else if (value.gradient_from_next) {
      add(context_, sum, tensors_.received_gradient(v, micro), sum);
    }
  }
}

void Stage::weight_layer(int i, const MicroBatch& micro) {
  LayerCall call = call_of(i, micro);
  fill_output_grads(i, micro.index);
  call.output_grads = call_.output_grads;
  if (layer_plan(i).inputs_needed_by_weight) {
    fill_inputs(i, micro, size());
    call.inputs = call_.inputs;
  }
  layer(i).backward_weight(context_, layer_plan(i), call);
}

void Stage::backward_weight(const MicroBatch& micro, int segment, const Completed& completed) {
  use_workspace();
  Run& run = run_of(micro.index);
  const std::vector<GradientBucket>& buckets = memory_plan().buckets;
  for (int i = memory_plan().segment_end(segment) - 1; i >= memory_plan().segment_first(segment);
       --i) {
    if (values_[i].empty()) continue;
    weight_layer(i, micro);
    const auto ended = std::ranges::find(buckets, i, &GradientBucket::first_layer);
    if (ended != buckets.end()) {
      end_bucket(static_cast<int>(ended - buckets.begin()), run, completed);
    }
  }
  if (segment > 0) return;
  Progress& progress = progress_.at(static_cast<std::size_t>(micro.index));
  STAGECOACH_CHECK(progress == Progress::kBackward, "Stage::backward_weight", "one W after B",
                   fmt::format("that of micro-batch {}", micro.index));
  const auto next = (&run - runs_.data()) * run_size() + run.weights;
  STAGECOACH_CHECK(micro.index == next, "Stage::backward_weight",
                   fmt::format("W of micro-batch {}, as gradients are added in one order", next),
                   fmt::format("that of {}", micro.index));
  progress = Progress::kWeight;
  ++run.weights;
  ++weights_;
  tensors_.give_gradients(micro.index);
  tensors_.give_slot(micro.index);
  tensors_.give_inputs(micro.index);
}

void Stage::end_bucket(int bucket, const Run& run, const Completed& completed) {
  if (!tree_.ends_group(run.weights)) return;
  const Elements& elements = memory_plan().buckets[static_cast<std::size_t>(bucket)].elements;
  std::vector<Tensor> waiting;
  for (const Tensor& level : run.flat_waiting) waiting.push_back(elements_of(level, elements));
  tree_.end_group(context_, tree_.group_of(run.weights), waiting, elements_of(run.flat, elements));
  if (weights_ + 1 < options_.memory.micro_batches) return;
  if (runs_.size() > 1) {
    std::vector<Tensor> sums;
    for (const Run& one : runs_) sums.push_back(one.flat);
    sum_replicas(context_, sums, 0, elements);
  }
  if (completed) completed(bucket);
}

Tensor Stage::exchange_memory() const {
  if (memory_plan().exchange < 0) return {};
  return tensors_.view(
      Place{memory_plan().exchange, 0, row_major({options_.memory.exchange_bytes}, DType::kU8)});
}

void Stage::end_step(const MicroBatch& micro) {
  if (std::exchange(ended_, true)) return;
  use_workspace();
  for (int i = 0; i < size(); ++i) {
    if (layer_plan(i).step_state.empty()) continue;
    call_.step_state.clear();
    for (const Place& place : memory_plan().step_state_of[i]) {
      call_.step_state.push_back(tensors_.view(place));
    }
    LayerCall call;
    call.buffers = buffers_[i];
    call.step_state = call_.step_state;
    call.micro = micro;
    call.layer = static_cast<std::uint32_t>(options_.first + i);
    layer(i).end_step(context_, layer_plan(i), call);
  }
}

void Stage::sum_squares_of_gradients(double* sums) {
  use_workspace();
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    sum_of_squares(context_, sums + parameter_index_[i], parameters_[i].grad);
  }
}

void Stage::clip_gradients(std::span<const double> sums, double max_norm, double* norms) {
  stagecoach::clip_gradients(context_, parameters_.empty() ? Tensor{} : flat_.gradients(), sums,
                             max_norm, norms);
}

void Stage::set_state(const std::string& name, const Tensor& value) {
  state_.set(name, value);
  flat_.refresh_copies();
  context_.stream().synchronize();
}

StageSummary Stage::summary() const {
  std::int64_t multiply_adds = 0;
  for (int i = 0; i < size(); ++i) {
    const bool has_b = std::ranges::any_of(
        graph().inputs[i], [this](int v) { return graph().values[v].has_gradient(); });
    multiply_adds += layer_plan(i).multiply_adds * (has_b ? 3 : 2);
  }
  multiply_adds *= options_.memory.micro_batches;
  std::int64_t message_bytes = 0;
  for (const int v : graph().sent) message_bytes += graph().values[v].spec.bytes();
  return {
      first(),       end(),        parameter_count(), arena().plan().bytes(), arena().peak_bytes(),
      multiply_adds, message_bytes};
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
  flat_.refresh_copies();
}

int Stage::first_nonfinite_layer(std::span<const Tensor> inputs, const MicroBatch& micro) {
  tensors_.set_inputs("Stage::first_nonfinite_layer", inputs, {}, micro.index);
  tensors_.take_slot(micro.index);
  use_workspace();
  prepare_once(micro);
  hand_on_copies(micro.index);
  for (int i = 0; i < size(); ++i) {
    if (i == graph().loss()) continue;
    forward_layer(i, micro, size());
    for (const int v : graph().outputs[i]) {
      const Tensor output = tensors_.value(v, micro.index, size());
      if (!all_finite(context_.stream(), output)) return options_.first + i;
    }
  }
  return -1;
}

}  // namespace stagecoach
