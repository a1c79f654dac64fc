#include "pipeline/pipeline.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "comm/copying_channel.h"
#include "comm/local_channel.h"
#include "core/copy.h"
#include "core/system_memory.h"
#include "kernels/step.h"
#include "kernels/target.h"

namespace stagecoach {
namespace {

// The error that came first, of all ranks. Those after it are its echoes along events and channels.
class FirstError {
 public:
  void set(std::exception_ptr error, Clock::time_point time) {
    std::lock_guard lock(mutex_);
    if (error_ && time >= time_) return;
    error_ = std::move(error);
    time_ = time;
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr error_;
  Clock::time_point time_;
};

}  // namespace

Pipeline::Pipeline(const Network& network, const std::vector<LayerPlan>& plans,
                   PipelineOptions options)
    : plan_(network, plans, options) {
  make_contexts(options);
  connect();
  for (const Replica& replica : replicas_) {
    for (const auto& context : replica.contexts) open_libraries(*context);
  }
  guard_.emplace(contexts(), training().micro_batches() * options.replicas);
  make_stages(network, plans, options);
  for (const Replica& replica : replicas_) {
    make_clip(options, replica.stages, std::ssize(parameters_of(network, plans)));
  }
  make_executors();
  make_drivers(plans, options);
}

Pipeline::~Pipeline() = default;

void Pipeline::make_contexts(const PipelineOptions& options) {
  replicas_.resize(static_cast<std::size_t>(options.replicas));
  for (Replica& replica : replicas_) {
    for (int rank = 0; rank < training().ranks(); ++rank) {
      Target target = options.target;
      if (!options.devices.empty()) {
        target.device = options.devices.at(static_cast<std::size_t>(rank));
      }
      replica.contexts.push_back(std::make_unique<Context>(target));
      replica.side_contexts.push_back(make_side_context(options, plan_.most_replicas, target));
    }
  }
}

// Devices that copy from each other: neighbours, and the last one from the first, where the batch
// with its targets is.
void Pipeline::connect() {
  const auto connect_two = [&](std::size_t stage, std::size_t other) {
    const Device a = context_of(first(), stage).device(), b = context_of(first(), other).device();
    if (!connect_devices(a, b)) apart_.insert(std::minmax(a.index, b.index));
  };
  const std::size_t last = plan_.stages.size() - 1;
  for (std::size_t s = 0; s < last; ++s) connect_two(s, s + 1);
  connect_two(0, last);
}

void Pipeline::make_stages(const Network& network, const std::vector<LayerPlan>& plans,
                           const PipelineOptions& options) {
  std::map<int, std::int64_t> bytes;  // by index of the device
  bytes[context_of(first(), 0).device().index] = options.other_bytes;
  for (std::size_t s = 0; s < plan_.stages.size(); ++s) {
    bytes[context_of(first(), s).device().index] +=
        plan_memory(plan_.graphs[s], plan_.stages[s].memory).arena.bytes() *
        plan_.stages[s].memory.replicas;
  }
  for (const auto& [index, sum] : bytes) {
    check_memory("the plan", sum, {options.target.device.type, index}, kMemoryHint);
  }
  for (std::size_t r = 0; r < replicas_.size(); ++r) {
    Replica& replica = replicas_[r];
    for (int s = 0; s < training().stages(); ++s) {
      StageOptions own = plan_.stages[s];
      own.memory.replica = static_cast<int>(r) * placement().replicas(s);
      for (const int rank : placement().ranks_of(s)) {
        auto& stages = std::ssize(replica.stages) == s ? replica.stages : replica.further;
        stages.push_back(std::make_unique<Stage>(network, plans, own, *replica.contexts[rank]));
        ++own.memory.replica;
      }
    }
  }
}

Stage& Pipeline::stage_of(const Replica& replica, int stage, int in_table) const {
  if (in_table == 0) return *replica.stages[stage];
  return *replica.further[placement().index(stage, in_table) - stage - 1];
}

std::vector<Context*> Pipeline::contexts() const {
  std::vector<Context*> all;
  for (const Replica& replica : replicas_) {
    for (const auto& context : replica.contexts) all.push_back(context.get());
  }
  for (const Replica& replica : replicas_) {
    for (const auto& side : replica.side_contexts) {
      if (side != nullptr) all.push_back(side.get());
    }
  }
  return all;
}

std::vector<Stage*> Pipeline::all_stages() const {
  std::vector<Stage*> all;
  for (const Replica& replica : replicas_) {
    for (const auto* stages : {&replica.stages, &replica.further}) {
      for (const auto& stage : *stages) all.push_back(stage.get());
    }
  }
  return all;
}

Context& Pipeline::context_of(const Replica& replica, std::size_t stage) const {
  return *replica.contexts[static_cast<std::size_t>(training().rank_of(static_cast<int>(stage)))];
}

// A channel without messages, by which one rank says that it has done something.
Channel* Pipeline::make_signal() {
  return channels_.emplace_back(make_local_channel(rendezvous_)).get();
}

void Pipeline::make_executors() {
  std::vector<Linked> linked;
  for (Replica& replica : replicas_) linked.push_back(link_stages(replica));
  link_replicas(linked);
  for (std::size_t r = 0; r < replicas_.size(); ++r) {
    if (clip() != nullptr) link_norms(linked[r]);
    for (std::size_t rank = 0; rank < linked[r].size(); ++rank) {
      replicas_[r].executors.push_back(
          std::make_unique<Executor>(static_cast<int>(rank), linked[r][rank], clip(r)));
    }
  }
}

Pipeline::Linked Pipeline::link_stages(Replica& replica) {
  Linked linked(replica.contexts.size());
  const auto stage = [&](int s) -> LinkedStage& {
    return linked[static_cast<std::size_t>(training().rank_of(s))][s];
  };
  for (int s = 0; s < training().stages(); ++s) {
    for (int i = 0; i < placement().replicas(s); ++i) {
      const int rank = placement().ranks_of(s)[i];
      LinkedStage& own = linked[rank][s];
      own.stage = &stage_of(replica, s, i);
      own.first_micro_batch = i * placement().block(s);
      own.measures_norm = i == 0;
      own.side = replica.side_contexts[rank].get();
    }
    if (s > 0) link_neighbours(linked, s - 1);
  }
  // Stages that are no neighbours say by channels of their own that they have read.
  const Reach& reach = training().reach();
  const auto link = [&](int maker, int reader, auto readers, auto makers) {
    if (training().rank_of(maker) == training().rank_of(reader)) return;
    Channel* signal = make_signal();
    (stage(maker).*readers).push_back(signal);
    (stage(reader).*makers).push_back(signal);
  };
  for (int s = 0; s + 1 < training().stages(); ++s) {
    for (int reader = s + 2; reader <= reach.last_reader_of(s); ++reader) {
      link(s, reader, &LinkedStage::output_readers, &LinkedStage::output_makers);
    }
  }
  for (int s = 1; s < training().stages(); ++s) {
    for (int reader = reach.first_reader_of(s); reader < s - 1; ++reader) {
      link(s, reader, &LinkedStage::gradient_readers, &LinkedStage::gradient_makers);
    }
  }
  return linked;
}

// A channel each way between each replica of the upper stage and those of the next one that have
// micro-batches in common with it.
void Pipeline::link_neighbours(Linked& linked, int upper) {
  const int lower = upper + 1, pairs = placement().pairs(upper);
  const int span = training().micro_batches() / pairs;
  for (int pair = 0; pair < pairs; ++pair) {
    if (!placement().apart(upper, pair * span)) continue;
    LinkedStage& from = linked[placement().rank_of(upper, pair * span)][upper];
    LinkedStage& to = linked[placement().rank_of(lower, pair * span)][lower];
    const auto link = [&](const Stage& consumer, LinkedChannels& out, LinkedChannels& in) {
      const auto& made = channels_.emplace_back(
          plan_.copied[lower] ? make_copying_channel(consumer.context().device(), rendezvous_)
                              : make_local_channel(rendezvous_));
      for (LinkedChannels* end : {&out, &in}) {
        end->channels.resize(static_cast<std::size_t>(pairs));
        end->channels[pair] = made.get();
        end->span = span;
      }
    };
    link(*to.stage, from.activations_out, to.activations_in);
    link(*from.stage, to.gradients_out, from.gradients_in);
  }
}

// Every stage tells every other replica's how far it is with its gradients.
void Pipeline::link_replicas(std::vector<Linked>& linked) {
  for (int s = 0; s < training().stages(); ++s) {
    std::vector<LinkedStage*> replicas;
    for (Linked& one : linked) {
      for (const int rank : placement().ranks_of(s)) replicas.push_back(&one[rank].at(s));
    }
    const std::size_t count = replicas.size();
    if (count == 1) continue;
    std::vector<ReplicaTensors> tensors;
    std::vector<std::vector<Channel*>> readers(count), makers(count);
    for (std::size_t r = 0; r < count; ++r) {
      const Stage& stage = *replicas[r]->stage;
      tensors.push_back({stage.flat().gradients(), stage.flat().values()});
      for (std::size_t other = 0; other < count; ++other) {
        if (other == r) continue;
        Channel* signal = make_signal();
        readers[r].push_back(signal);
        makers[other].push_back(signal);
      }
    }
    for (std::size_t r = 0; r < count; ++r) {
      LinkedStage& stage = *replicas[r];
      stage.replicas = static_cast<int>(count);
      stage.replica = static_cast<int>(r);
      stage.sum = sums_
                      .emplace_back(make_shared_sum(tensors, stage.replica, std::move(readers[r]),
                                                    std::move(makers[r])))
                      .get();
    }
  }
}

// Every stage tells every other rank when the norm of its gradients is there.
void Pipeline::link_norms(Linked& linked) {
  for (std::size_t rank = 0; rank < linked.size(); ++rank) {
    for (auto& [number, own] : linked[rank]) {
      if (!own.measures_norm) continue;
      for (std::size_t other = 0; other < linked.size(); ++other) {
        if (other == rank) continue;
        Channel* signal = make_signal();
        own.norm_readers.push_back(signal);
        linked[other].begin()->second.norm_makers.push_back(signal);
      }
    }
  }
}

// Either threads that run the ranks side by side, or one that enqueues the work of all: streams of
// GPUs are asynchronous by themselves, and only one thread can capture a graph.
void Pipeline::make_drivers(const std::vector<LayerPlan>& plans, const PipelineOptions& options) {
  if (!Graph::can_capture(first().contexts[0]->device())) {
    for (const Replica& replica : replicas_) {
      for (std::size_t i = 0; i < replica.executors.size(); ++i) {
        threads_.push_back(std::make_unique<Worker>());
      }
    }
    return;
  }
  std::vector<SpanRecorder*> spans;
  for (const auto& executor : first().executors) {
    for (SpanRecorder* recorder : executor->spans()) spans.push_back(recorder);
  }
  launcher_.emplace(contexts(), spans, stages().back().get(), *guard_, options.eager);
  const Device last = stages().back()->context().device();
  if (last != first().contexts[0]->device()) {
    TensorSpec spec = plans.back().inputs[1];
    spec.shape = spec.shape.with(0, options.loss_rows);
    targets_.emplace(spec, last);
  }
}

// All ranks' actions, each after what it depends on.
void Pipeline::enqueue(const StepInput& step_input) {
  for (const auto& channel : channels_) channel->reset();
  StepInput input = step_input;
  if (targets_) {
    copy(stages().back()->context().stream(), targets_->tensor, input.targets);
    input.targets = targets_->tensor;
  }
  const Program& program = input.micro.training ? training() : plan_.evaluation;
  enqueue_step(program, first().executors, *rendezvous_, input);
}

void Pipeline::run_on_cpu(const StepInput& input) {
  for (const auto& channel : channels_) channel->reset();
  const Program& program = input.micro.training ? training() : plan_.evaluation;
  FirstError first_error;
  for (Context* context : contexts()) begin_step(*context, values_of(input));
  rendezvous_->begin(static_cast<int>(threads_.size()));
  std::size_t thread = 0;
  for (std::size_t r = 0; r < replicas_.size(); ++r) {
    const StepInput part =
        input_of_replica(input, static_cast<int>(r), static_cast<int>(replicas_.size()));
    for (const auto& executor : replicas_[r].executors) {
      threads_[thread++]->enqueue([&, part] {
        try {
          executor->run(program, part);
        } catch (...) {
          first_error.set(std::current_exception(), executor->failed_at());
        }
        rendezvous_->leave();
      });
    }
  }
  for (const auto& each : threads_) each->drain();
  first_error.rethrow();
  for (const auto& channel : channels_) channel->check_complete();
  collect_results();
}

// The results of all replicas' rows, with the first one's.
void Pipeline::collect_results() const {
  const auto collect = [&](Tensor (Stage::*results)() const) {
    const Tensor to = (*stages().back().*results)();
    if (!to.defined()) return;
    const int last = training().stages() - 1, in_table = placement().replicas(last);
    const std::int64_t rows = to.elements() / (std::ssize(replicas_) * in_table);
    for (std::int64_t r = 1; r < std::ssize(replicas_) * in_table; ++r) {
      const Stage& stage = stage_of(replicas_[r / in_table], last, static_cast<int>(r % in_table));
      const Tensor from = rows_of((stage.*results)(), r * rows, rows);
      std::memcpy(rows_of(to, r * rows, rows).data, from.data,
                  static_cast<std::size_t>(from.bytes()));
    }
  };
  collect(&Stage::losses);
  collect(&Stage::correct);
}

std::vector<TraceEvent> Pipeline::trace(Clock::time_point origin, std::int64_t step) const {
  std::vector<TraceEvent> events;
  for (const auto& executor : replicas_[0].executors) {
    const std::vector<TraceEvent> own = executor->trace(origin, step);
    events.insert(events.end(), own.begin(), own.end());
  }
  return events;
}

}  // namespace stagecoach
