#include "pipeline/pipeline_plan.h"

#include <algorithm>
#include <bit>

#include "core/error.h"
#include "pipeline/schedule/check.h"
#include "pipeline/stage_reach.h"

namespace stagecoach {
namespace {

std::vector<StageOptions> stage_options(const PipelineOptions& options, const Program& program) {
  std::vector<StageOptions> stages;
  const int count = options.partition.stages();
  for (int s = 0; s < count; ++s) {
    StageOptions stage;
    stage.first = options.partition.first[s];
    stage.end = options.partition.end(s);
    const Placement& placement = program.placement();
    stage.memory = memory_of_stage(
        program.buffers(), s, memory_of_job(options, placement.replicas(s), placement.groups()));
    stage.memory.recomputes = program.slots().recomputed(s) > 0;
    stage.memory.recompute_interval = options.recompute_interval;
    stage.optimizer = options.optimizer;
    stages.push_back(stage);
  }
  return stages;
}

std::vector<StageGraph> graphs_of(const Network& network, const std::vector<LayerPlan>& plans,
                                  const Partition& partition) {
  std::vector<StageGraph> graphs;
  graphs.reserve(partition.first.size());
  for (int s = 0; s < partition.stages(); ++s) {
    graphs.push_back(stage_graph(network, plans, partition.first[s], partition.end(s)));
  }
  return graphs;
}

// By stage, whether what it and the one before send each other is copied from device to device.
std::vector<bool> copied_between(const PipelineOptions& options, const Program& program) {
  std::vector<bool> copied(static_cast<std::size_t>(program.stages()), false);
  for (int s = 1; s < program.stages(); ++s) {
    const int rank = program.rank_of(s), before = program.rank_of(s - 1);
    copied[s] =
        options.world != nullptr
            ? rank != before
            : !options.devices.empty() && options.devices.at(rank) != options.devices.at(before);
  }
  return copied;
}

// The schedule, with buffers that hold what the stages of this network exchange.
Program checked(const Schedule& schedule, const std::vector<StageGraph>& graphs,
                const PipelineOptions& options) {
  const Program program = check(schedule);
  const Reach reach = reach_of(graphs, copied_between(options, program));
  STAGECOACH_CHECK(
      program.placement().groups() == 1 || (options.world == nullptr && reach.last_reader.empty()),
      "Pipeline", "a table with each stage on one rank, or threads and messages between neighbours",
      options.world != nullptr
          ? "processes, and a stage on several"
          : "a stage on several, and a value that travels beyond the next one");
  return reach.last_reader.empty() ? program : check(schedule, {.reach = reach});
}

// Several segments have their B and W together, and all their micro-batches recomputed.
void check_recompute(const PipelineOptions& options) {
  if (options.recompute_interval == 0) return;
  std::size_t again = 0, joint = 0;
  for (const auto& actions : options.schedule.ranks) {
    for (const Action& action : actions) {
      again += action.kind == ActionKind::kRecompute ? 1 : 0;
      joint += action.kind == ActionKind::kBackward ? 1 : 0;
    }
  }
  const auto all = static_cast<std::size_t>(options.schedule.stages) *
                   static_cast<std::size_t>(options.schedule.micro_batches);
  STAGECOACH_CHECK(again == all && joint == all, "Pipeline",
                   fmt::format("an R and a BW for each of {} micro-batches of all stages, as "
                               "layers are recomputed in runs of {}",
                               all, options.recompute_interval),
                   fmt::format("{} and {}", again, joint));
}

// Replicas of one process add their gradients in the CPU's memory, and a layer's statistics are of
// one of them.
void check_replicas(const std::vector<LayerPlan>& plans, const PipelineOptions& options,
                    int replicas) {
  STAGECOACH_CHECK(replicas >= 1 && std::has_single_bit(static_cast<unsigned>(replicas)) &&
                       options.gradient_groups % replicas == 0,
                   "Pipeline",
                   fmt::format("a power of two replicas that divides the {} gradient groups",
                               options.gradient_groups),
                   fmt::format("{}", replicas));
  STAGECOACH_CHECK(!options.unordered_sum ||
                       (replicas > 1 && options.world != nullptr && !options.shards_optimizer),
                   "Pipeline", "replicas in processes, each with all states, for an unordered sum",
                   options.shards_optimizer ? "shares of them" : "one replica, or threads");
  if (replicas == 1) return;
  STAGECOACH_CHECK(options.target.device.type == DeviceType::kCpu || options.world != nullptr,
                   "Pipeline", "replicas on the CPU, or in several processes",
                   options.target.device.to_string());
  STAGECOACH_CHECK(
      std::ranges::all_of(plans, [](const LayerPlan& plan) { return plan.step_state.empty(); }),
      "Pipeline", "layers without statistics of a batch, for several replicas",
      "one that has them");
}

void check_partition(const Network& network, const PipelineOptions& options) {
  const Partition& partition = options.partition;
  STAGECOACH_CHECK(
      partition.layers == network.size() && partition.stages() == options.schedule.stages,
      "Pipeline",
      fmt::format("a partition of {} layers into {} stages", network.size(),
                  options.schedule.stages),
      fmt::format("{} layers into {}", partition.layers, partition.stages()));
}

}  // namespace

PipelinePlan::PipelinePlan(const Network& network, const std::vector<LayerPlan>& plans,
                           const PipelineOptions& options)
    : PipelinePlan(options, [&] {
        check_partition(network, options);
        return graphs_of(network, plans, options.partition);
      }()) {
  check_recompute(options);
  check_replicas(plans, options, most_replicas);
}

PipelinePlan::PipelinePlan(const PipelineOptions& options, std::vector<StageGraph> of_stages)
    : training(
          checked(with_optimizer_steps(with_communication(options.schedule)), of_stages, options)),
      evaluation(check(with_communication(forwards_of(options.schedule)),
                       {.buffers = training.buffers(), .reach = training.reach()})),
      most_replicas(options.replicas * training.placement().groups()),
      copied(copied_between(options, training)),
      graphs(std::move(of_stages)),
      stages(stage_options(options, training)) {
  for (std::size_t s = 1; s < stages.size(); ++s) {
    stages[s].memory.receives_activations = copied[s];
    stages[s - 1].memory.receives_gradients = copied[s];
  }
}

std::vector<std::int64_t> planned_bytes(const Network& network, const std::vector<LayerPlan>& plans,
                                        const PipelineOptions& options) {
  const PipelinePlan plan(network, plans, options);
  std::vector<std::int64_t> bytes;
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    bytes.push_back(plan_memory(plan.graphs[s], plan.stages[s].memory).arena.bytes());
  }
  return bytes;
}

}  // namespace stagecoach
