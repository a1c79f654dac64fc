#include "pipeline/process_pipeline.h"

#include <algorithm>
#include <utility>

#include "comm/calibration.h"
#include "comm/collectives.h"
#include "comm/launched_process.h"
#include "comm/message.h"
#include "comm/tensor_transfer.h"
#include "core/error.h"
#include "core/system_memory.h"
#include "kernels/step.h"
#include "kernels/target.h"
#include "pipeline/activity.h"
#include "pipeline/message_order.h"

namespace stagecoach {
namespace {

World& checked_world(const PipelineOptions& options, const Program& program) {
  STAGECOACH_CHECK(options.world != nullptr, "ProcessPipeline", "the processes of the job", "none");
  STAGECOACH_CHECK(
      options.world->size() == program.ranks() * options.replicas, "ProcessPipeline",
      fmt::format("{} processes, for {} ranks of {} replicas", program.ranks() * options.replicas,
                  program.ranks(), options.replicas),
      std::to_string(options.world->size()));
  return *options.world;
}

// Of what each process has, the sum over those of this machine.
std::int64_t sum_on_machine(World& world, std::int64_t own) {
  const std::string host = host_name();
  MessageWriter writer;
  writer.put(host);
  writer.put(own);
  std::int64_t sum = 0;
  for (const ByteVector& bytes : all_gather(world, writer.bytes())) {
    MessageReader reader(bytes);
    if (reader.get<std::string>() == host) sum += reader.get<std::int64_t>();
  }
  return sum;
}

}  // namespace

ProcessPipeline::ProcessPipeline(const Network& network, const std::vector<LayerPlan>& plans,
                                 const PipelineOptions& options)
    : plan_(network, plans, options),
      world_(checked_world(options, plan_.training)),
      watch_(options.watch),
      calibration_(options.calibration),
      replicas_(options.replicas),
      unordered_sum_(options.unordered_sum),
      place_{world_.rank() / replicas_, world_.rank() % replicas_},
      context_(std::make_unique<Context>(options.target)),
      side_context_(make_side_context(options, plan_.most_replicas, options.target)) {
  guard_.emplace(contexts(), program().micro_batches() * replicas_);
  make_stages(network, plans, options);
  const auto parameters = parameters_of(network, plans);
  make_clip(options, stages_, std::ssize(parameters));
  links_.emplace(world_, options.target, context_->failure_flag());
  make_executor(network, plans);
  if (Graph::can_capture(options.target.device)) make_launcher(options);
  losses_.emplace(row_major({options.loss_rows}));
  share_entries();
}

ProcessPipeline::~ProcessPipeline() = default;

void ProcessPipeline::make_stages(const Network& network, const std::vector<LayerPlan>& plans,
                                  const PipelineOptions& options) {
  open_libraries(*context_);  // takes memory, too
  std::int64_t bytes = options.other_bytes;
  for (int s = 0; s < program().stages(); ++s) {
    if (program().rank_of(s) != place_.rank) continue;
    numbers_.push_back(s);
    bytes += plan_memory(plan_.graphs[s], plan_.stages[s].memory).arena.bytes();
  }
  check_memory("the plan of all processes on this machine", sum_on_machine(world_, bytes),
               options.target.device, kMemoryHint);
  for (const int s : numbers_) {
    StageOptions own = plan_.stages[s];
    own.memory.replica = place_.replica;
    stages_.push_back(std::make_unique<Stage>(network, plans, own, *context_));
  }
}

Stage* ProcessPipeline::own_stage(int stage) const {
  const auto found = std::ranges::find(numbers_, stage);
  return found == numbers_.end() ? nullptr : stages_[found - numbers_.begin()].get();
}

void ProcessPipeline::make_executor(const Network& network, const std::vector<LayerPlan>& plans) {
  std::map<int, LinkedStage> linked;
  for (const int s : numbers_) {
    linked[s].stage = own_stage(s);
    linked[s].replicas = replicas_;
    linked[s].replica = place_.replica;
    linked[s].side = side_context_.get();
  }
  link_neighbours(linked);
  if (replicas_ > 1) link_replicas(linked);
  if (clip() != nullptr && program().ranks() > 1) {
    std::vector<int> before(static_cast<std::size_t>(network.size()) + 1, 0);
    for (const NamedParameter& parameter : parameters_of(network, plans)) {
      for (int layer = parameter.layer + 1; layer <= network.size(); ++layer) ++before[layer];
    }
    link_norms(linked, before);
  }
  executor_ = std::make_unique<Executor>(place_.rank, std::move(linked), clip(), watch_);
}

// Messages into stage s, and back from it, have its number.
void ProcessPipeline::link_neighbours(std::map<int, LinkedStage>& linked) {
  using enum MessageKind;
  const auto other = [&](int stage) { return process_of_stage(stage, place_.replica); };
  for (auto& [s, own] : linked) {
    if (s > 0 && plan_.copied[s]) {
      own.activations_in = &links_->receiving(other(s - 1), kActivation, s);
      own.gradients_out = &links_->sending(other(s - 1), kGradient, s);
    }
    const int after = s + 1;
    if (after < program().stages() && plan_.copied[after]) {
      own.activations_out = &links_->sending(other(after), kActivation, after);
      own.gradients_in = &links_->receiving(other(after), kGradient, after);
    }
  }
}

void ProcessPipeline::link_replicas(std::map<int, LinkedStage>& linked) {
  std::vector<int> processes;
  processes.reserve(static_cast<std::size_t>(replicas_));
  for (int r = 0; r < replicas_; ++r) processes.push_back(process_of(place_.rank, r));
  for (auto& [s, own] : linked) {
    const ReplicaTensors tensors{own.stage->flat().gradients(), own.stage->flat().values()};
    own.sum = unordered_sum_ ? &links_->unordered_sum(processes, tensors.gradients)
                             : &links_->sum(processes, place_.replica, s, tensors,
                                            own.stage->exchange_memory());
  }
}

// `parameters_before`: by layer, of the network.
void ProcessPipeline::link_norms(std::map<int, LinkedStage>& linked,
                                 const std::vector<int>& parameters_before) {
  std::vector<NormPart> parts(static_cast<std::size_t>(program().ranks()));
  for (int s = 0; s < program().stages(); ++s) {
    NormPart& part = parts[program().rank_of(s)];
    part.process = process_of(program().rank_of(s), place_.replica);
    const int first = parameters_before[plan_.stages[s].first];
    const int count = parameters_before[plan_.stages[s].end] - first;
    if (count > 0) part.sums.push_back(clip()->all_sums().subspan(first, count));
  }
  linked.begin()->second.norms = &links_->norms(clip()->all_sums(), parts, place_.rank);
}

// The state of every stage, in the network's order. Of what every replica has whole, the first
// one's counts.
void ProcessPipeline::share_entries() {
  MessageWriter own;
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    const StateDict& state = stages_[i]->state();
    for (const StateEntry& entry : state.entries()) {
      const bool counts = place_.replica == 0 ||
                          (entry.kind == StateKind::kOptimizerState && stages_[i]->updates_share());
      own.put(numbers_[i]);
      own.put(entry.name);
      own.put(entry.kind);
      own.put(entry.spec);
      own.put(counts ? state.part(entry.name) : Elements{});
    }
  }
  std::vector<std::vector<RemoteEntry>> by_stage(static_cast<std::size_t>(program().stages()));
  const std::vector<ByteVector> all = all_gather(world_, own.bytes());
  for (std::size_t process = 0; process < all.size(); ++process) {
    MessageReader reader(all[process]);
    while (!reader.empty()) {
      const auto stage = reader.get<int>();
      RemoteEntry remote;
      remote.process = static_cast<int>(process);
      remote.entry.name = reader.get<std::string>();
      remote.entry.kind = reader.get<StateKind>();
      remote.entry.spec = reader.get<TensorSpec>();
      const auto part = reader.get<Elements>();
      std::vector<RemoteEntry>& entries = by_stage.at(static_cast<std::size_t>(stage));
      const auto known = std::ranges::find_if(
          entries, [&](const RemoteEntry& entry) { return entry.entry.name == remote.entry.name; });
      RemoteEntry& entry =
          known != entries.end() ? *known : entries.emplace_back(std::move(remote));
      entry.parts.push_back(part);
    }
  }
  for (const auto& entries : by_stage) {
    entries_.insert(entries_.end(), entries.begin(), entries.end());
  }
}

void ProcessPipeline::make_launcher(const PipelineOptions& options) {
  OtherProcesses others;
  others.streams = links_->streams();
  others.wait = [this](const Event& event) { links_->wait(event); };
  others.share = [this](const StepInput& input, const StepResult& own) {
    return share_results(input.micro.step, own);
  };
  const Stage& last = *stages_.back();
  launcher_.emplace(contexts(), executor_->spans(), last.is_last() ? &last : nullptr, *guard_,
                    options.eager, std::move(others));
}

template <typename Body>
auto ProcessPipeline::with_others(const Body& body) {
  try {
    return body();
  } catch (const NumericError&) {
    throw;
  } catch (const PeerError&) {
    failed_ = true;
    links_->abort();
    throw;
  } catch (...) {
    failed_ = true;
    const auto error =
        with_where(std::current_exception(), fmt::format("process {}", world_.rank()));
    world_.abort(error);
    links_->abort();
    std::rethrow_exception(error);
  }
}

void ProcessPipeline::launch(const StepInput& input) {
  if (launcher_ && watch_ != nullptr) {  // of a GPU's actions, the step is known
    watch_->set_activity(activity_of(input.micro.step, program_of(input).actions(place_.rank)[0]));
  }
  with_others([&] { TrainingLoop::launch(input); });
}

StepResult ProcessPipeline::finish() {
  return with_others([&] { return TrainingLoop::finish(); });
}

void ProcessPipeline::enqueue(const StepInput& input) {
  links_->reset();
  executor_->enqueue(program_of(input), input_of_replica(input, place_.replica, replicas_));
}

void ProcessPipeline::run_on_cpu(const StepInput& input) {
  links_->reset();
  begin_step(*context_, values_of(input));
  const Watch::Step watched(watch_);
  executor_->run(program_of(input), input_of_replica(input, place_.replica, replicas_));
  links_->check_complete();
  const Stage& last = *stages_.back();
  share_results(input.micro.step,
                last.is_last() ? StepResult{last.losses(), last.correct()} : StepResult{});
}

// Process 0 gets the results of the last stages' rows, and what all did when; all get the results.
StepResult ProcessPipeline::share_results(std::int64_t step, const StepResult& result) {
  gradient_norm_ = TrainingLoop::gradient_norm(step);
  const std::vector<ByteVector> gathered = gather(world_, own_results(result));
  trace_.clear();
  MessageWriter all;
  if (world_.rank() == 0) {
    for (std::size_t process = 0; process < gathered.size(); ++process) {
      collect(gathered[process], static_cast<int>(process) % replicas_);
    }
    if (calibration_ != nullptr && calibration_->machines() > 1) {
      keep_messages_in_order(trace_, machines_of_ranks());
    }
    all.put_bytes(losses_->tensor.data, static_cast<std::size_t>(losses_->tensor.bytes()));
    all.put(correct_.has_value());
    if (correct_) all.put_bytes(correct_->tensor.data, byte_span(correct_->tensor).size());
    all.put(gradient_norm_);
  }
  const ByteVector shared = broadcast(world_, all.bytes());
  MessageReader reader(shared);
  reader.get_bytes(losses_->tensor.data, byte_span(losses_->tensor).size());
  if (reader.get<bool>()) {
    if (!correct_) correct_.emplace(row_major(losses_->tensor.shape(), DType::kI32));
    reader.get_bytes(correct_->tensor.data, byte_span(correct_->tensor).size());
  }
  gradient_norm_ = reader.get<std::optional<double>>();
  return step_result();
}

ByteVector ProcessPipeline::own_results(const StepResult& result) const {
  MessageWriter own;
  const auto put_rows = [&](const Tensor& of_all) {
    own.put(of_all.defined());
    if (!of_all.defined()) return;
    const std::int64_t rows = of_all.shape()[0] / replicas_;
    const Tensor rows_here = rows_of(of_all, place_.replica * rows, rows);
    own.put_bytes(rows_here.data, byte_span(rows_here).size());
  };
  own.put(result.losses.defined());
  if (result.losses.defined()) {
    put_rows(result.losses);
    put_rows(result.correct);
    own.put(gradient_norm_);
  }
  own.put(place_.replica == 0 ? own_trace() : std::vector<TraceEvent>());
  return own.bytes();
}

std::vector<TraceEvent> ProcessPipeline::own_trace() const {
  const auto offset = calibration_ == nullptr ? Clock::duration{} : calibration_->offset();
  return executor_->trace(Clock::time_point(-offset), 0);
}

// Of the first replica.
std::vector<int> ProcessPipeline::machines_of_ranks() const {
  std::vector<int> machines;
  machines.reserve(static_cast<std::size_t>(program().ranks()));
  for (int rank = 0; rank < program().ranks(); ++rank) {
    machines.push_back(calibration_->machine_of(process_of(rank, 0)));
  }
  return machines;
}

void ProcessPipeline::collect(const ByteVector& results, int replica) {
  MessageReader reader(results);
  const auto get_rows = [&](std::optional<OwnedTensor>& all, DType dtype) {
    if (!reader.get<bool>()) return;
    if (!all) all.emplace(row_major(losses_->tensor.shape(), dtype));
    const std::int64_t rows = all->tensor.shape()[0] / replicas_;
    const Tensor rows_here = rows_of(all->tensor, replica * rows, rows);
    reader.get_bytes(rows_here.data, byte_span(rows_here).size());
  };
  if (reader.get<bool>()) {
    get_rows(losses_, DType::kF32);
    get_rows(correct_, DType::kI32);
    gradient_norm_ = reader.get<std::optional<double>>();
  }
  const auto events = reader.get_all<TraceEvent>();
  trace_.insert(trace_.end(), events.begin(), events.end());
}

StepResult ProcessPipeline::step_result() const {
  return {losses_->tensor, correct_ ? correct_->tensor : Tensor()};
}

std::vector<TraceEvent> ProcessPipeline::trace(Clock::time_point origin, std::int64_t step) const {
  std::vector<TraceEvent> events = trace_;
  const double start = std::chrono::duration<double>(origin.time_since_epoch()).count();
  for (TraceEvent& event : events) {
    event.start -= start;
    event.end -= start;
    event.step = step;
  }
  return events;
}

std::vector<StateEntry> ProcessPipeline::state() const {
  std::vector<StateEntry> all;
  for (const RemoteEntry& remote : entries_) all.push_back(remote.entry);
  return all;
}

const ProcessPipeline::RemoteEntry& ProcessPipeline::entry_of(const std::string& name) const {
  for (const RemoteEntry& remote : entries_) {
    if (remote.entry.name == name) return remote;
  }
  throw Error("ProcessPipeline", "the name of a state", name);
}

bool ProcessPipeline::owns_state(const std::string& name) const {
  return place_.replica == 0 && has_state(name);
}

// What of it each replica has goes to `root`, whose `destination` is defined; elsewhere nothing
// happens, but where a part is.
void ProcessPipeline::collect_state(const RemoteEntry& remote, int root,
                                    const Tensor& destination) const {
  constexpr int kTag = tag_of(MessageKind::kCollective);
  const std::string& name = remote.entry.name;
  for (int r = 0; r < std::ssize(remote.parts); ++r) {
    const Elements& part = remote.parts[r];
    const int holder = remote.process + r;
    if (part.size() == 0) continue;
    if (world_.rank() == holder && holder == root) {
      own_holder(name).read(name, destination);
    } else if (world_.rank() == holder) {
      send_tensor(world_, root, kTag, own_holder(name).tensor(name), context_->stream());
    } else if (world_.rank() == root) {
      world_.receive(holder, kTag, byte_span(elements_of(flat_view(destination), part))).wait();
    }
  }
}

void ProcessPipeline::set_state(const std::string& name, const Tensor& value) {
  entry_of(name);  // throws where there is none
  for (const auto& own : stages_) {
    if (own->state().has(name)) own->set_state(name, value);
  }
}

OwnedTensor ProcessPipeline::get_state(const std::string& name) const {
  const RemoteEntry& remote = entry_of(name);
  OwnedTensor value(world_.rank() == 0 ? remote.entry.spec : row_major({0}));
  collect_state(remote, 0, value.tensor);
  return value;
}

void ProcessPipeline::read_state(const std::string& name, const Tensor& destination) const {
  const RemoteEntry& remote = entry_of(name);
  collect_state(remote, remote.process, destination);
}

const StateDict& ProcessPipeline::own_holder(const std::string& name) const {
  const auto holder =
      std::ranges::find_if(stages_, [&](const auto& stage) { return stage->state().has(name); });
  STAGECOACH_CHECK(holder != stages_.end(), "ProcessPipeline", "a state of this process", name);
  return (*holder)->state();
}

bool ProcessPipeline::is_finite(const std::string& name) const {
  const RemoteEntry& remote = entry_of(name);
  const bool counts = has_state(name) && remote.parts[place_.replica].size() > 0;
  MessageWriter writer;
  writer.put(!counts || own_holder(name).is_finite(name));
  return std::ranges::all_of(all_gather(world_, writer.bytes()), [](const ByteVector& bytes) {
    return MessageReader(bytes).get<bool>();
  });
}

std::vector<StageSummary> ProcessPipeline::summaries() const {
  MessageWriter writer;
  if (place_.replica == 0) {
    for (const auto& own : stages_) writer.put(own->summary());
  }
  std::vector<StageSummary> all;
  for (const ByteVector& bytes : all_gather(world_, writer.bytes())) {
    MessageReader reader(bytes);
    while (!reader.empty()) all.push_back(reader.get<StageSummary>());
  }
  std::ranges::sort(all, {}, &StageSummary::first);
  return all;
}

TrainingLoop::Rows ProcessPipeline::input_rows(std::int64_t batch) const {
  if (!stages_.front()->is_first()) return {};
  const std::int64_t rows = batch / replicas_;
  return {place_.replica * rows, rows};
}

// Each replica looks at its own micro-batches, one stage after another; what a stage has found is
// told to all.
std::optional<TrainingLoop::NonFinite> ProcessPipeline::first_nonfinite(
    const StepInput& input, std::int64_t micro_batches) {
  begin_step(*context_, values_of(input));
  const std::int64_t rows = input.images.shape()[0] / micro_batches;
  for (std::int64_t m = 0; m < micro_batches; ++m) {
    MicroBatch micro = micro_batch_of(input, m, rows);
    micro.index = 0;  // of a step of its own
    const int replica = static_cast<int>(m * replicas_ / micro_batches);
    for (int s = 0; s < program().stages(); ++s) {
      MessageWriter found;
      Stage* const own = replica == place_.replica ? own_stage(s) : nullptr;
      if (own != nullptr) {
        own->begin_step();
        const Tensor images = rows_of(input.images, micro.first_sample, rows);
        found.put(own->first_nonfinite_layer(message_for_search(s, images), micro));
      }
      const ByteVector shared = broadcast(world_, found.bytes(), process_of_stage(s, replica));
      const auto layer = MessageReader(shared).get<int>();
      if (layer >= 0) return NonFinite{layer, m};
      if (own != nullptr) hand_on_for_search(s);
    }
  }
  return std::nullopt;
}

std::vector<Tensor> ProcessPipeline::message_for_search(int stage, const Tensor& images) const {
  if (stage == 0) return {images};
  if (!plan_.copied[stage]) return own_stage(stage - 1)->outputs(0);
  std::vector<Tensor> message = own_stage(stage)->receive_inputs(0);
  const int tag = tag_of(MessageKind::kActivation, stage);
  const int before = process_of_stage(stage - 1, place_.replica);
  for (const Tensor& tensor : message) {
    receive_tensor(world_, before, tag, tensor, context_->stream());
  }
  return message;
}

void ProcessPipeline::hand_on_for_search(int stage) const {
  const int after = stage + 1;
  if (after == program().stages() || !plan_.copied[after]) return;
  const int tag = tag_of(MessageKind::kActivation, after);
  for (const Tensor& tensor : own_stage(stage)->outputs(0)) {
    send_tensor(world_, process_of_stage(after, place_.replica), tag, tensor, context_->stream());
  }
}

}  // namespace stagecoach
