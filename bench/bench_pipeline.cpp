// What the pipeline itself costs, and what its stages do.
//
//   build/release/bench_pipeline                                      all of it, about a minute
//   build/release/bench_pipeline --benchmark_filter=machinery         what an action costs
//   build/release/bench_pipeline --benchmark_filter=stage             AlexNet's stages, one by one
//   build/release/bench_pipeline --benchmark_filter=step              whole training steps
//   build/release/bench_pipeline --benchmark_repetitions=5 --benchmark_report_aggregates_only
//
// The stages run alone, the steps all at once: with fewer cores than stages, or other programs
// beside, steps are slower than the slowest stage says.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/uniform.h"
#include "layers/layers.h"
#include "pipeline/pipeline.h"
#include "pipeline/plain_loop.h"
#include "pipeline/schedule/generators.h"

namespace stagecoach {
namespace {

using benchmark::State;

// Inputs and a loop for a network, one thread for each rank.
struct Job {
  Job(Network of, const TensorSpec& input, const Partition& partition, const Schedule& schedule)
      : network(std::move(of)),
        images({input.dtype, input.shape.with(0, input.shape[0] * schedule.micro_batches),
                input.format}),
        labels({DType::kI32, {input.shape[0] * schedule.micro_batches}}) {
    const std::vector<LayerPlan> plans = network.plan(input, 1);
    PipelineOptions options;
    options.partition = partition;
    options.schedule = schedule;
    options.optimizer = optimizer;
    options.loss_rows = labels.tensor.elements();
    loop = std::make_unique<Pipeline>(network, plans, options);
    Context& context = loop->stages()[0]->context();
    fill_uniform(context, images.tensor, 1.0f, {.use = RandomUse::kSyntheticData});
    for (const auto& stage : loop->stages()) {
      stage->initialize(0);
      stage->context().stream().synchronize();
    }
  }
  void step() {
    StepInput input;
    input.images = images.tensor;
    input.targets = labels.tensor;
    input.micro.step = steps++;
    input.optimizer = optimizer.get();
    loop->run(input);
  }

  Network network;
  // The loss of random images stays finite.
  std::shared_ptr<const Optimizer> optimizer = make_sgd(1e-4f);
  OwnedTensor images, labels;
  std::int64_t steps = 0;
  std::unique_ptr<Pipeline> loop;
};

// Stages of one ReLU for 16 numbers, so nothing but actions, events and the handing over costs.
// ns/action: of one rank, which has 3 to 7 kinds of them.
void measure_machinery(State& state, Schedule (*make)(int, int)) {
  const int stages = static_cast<int>(state.range(0));
  const int micro_batches = static_cast<int>(state.range(1));
  std::vector<NamedLayer> layers;
  Partition partition;
  for (int s = 0; s < stages; ++s) {
    layers.push_back({"", relu_layer()});
    partition.first.push_back(s);
  }
  partition.layers = stages;
  Job job({"empty", layers}, row_major({1, 16}), partition, make(stages, micro_batches));
  std::size_t all = 0, most = 0;
  for (const auto& actions : job.loop->program().schedule().ranks) {
    all += actions.size();
    most = std::max(most, actions.size());
  }
  job.step();
  const Clock::time_point begin = Clock::now();
  for (auto _ : state) job.step();
  const std::chrono::duration<double, std::nano> time = Clock::now() - begin;
  const double step = time.count() / static_cast<double>(state.iterations());
  state.counters["actions"] = static_cast<double>(all);
  state.counters["ns/action"] = step / static_cast<double>(most);
}

constexpr int kRows = 8;

// AlexNet at 224: the cut into two whose slower stage is the fastest, by measured time.
constexpr int kCut = 7;

TensorSpec alexnet_input() {
  return channels_last(kRows, 3, 224, 224);
}

double seconds_of(Stream& stream, const std::function<void()>& work) {
  const Clock::time_point begin = Clock::now();
  work();
  stream.synchronize();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// F, B and W of layers [first, end), alone on the machine: images/s of each, and of all three.
void measure_stage(State& state, int first, int end) {
  const Network network = make_alexnet();
  const std::vector<LayerPlan> plans = network.plan(alexnet_input(), 1);
  Context context(1);
  StageOptions options;
  options.first = first;
  options.end = end;
  options.memory.loss_rows = kRows;
  Stage stage(network, plans, options, context);
  stage.initialize(0);
  const OwnedTensor input(plans[first].inputs[0]), output_grad(plans[end - 1].outputs[0]);
  const OwnedTensor labels({DType::kI32, {kRows}});
  fill_uniform(context, input.tensor, 1.0f, {.use = RandomUse::kSyntheticData});
  fill_uniform(context, output_grad.tensor, 1e-3f, {.use = RandomUse::kSyntheticData});
  Stream& stream = context.stream();
  const std::span<const Tensor> from_next(&output_grad.tensor, stage.is_last() ? 0 : 1);
  MicroBatch micro;
  micro.batch = kRows;
  double f = 0, b = 0, w = 0;
  const auto run = [&] {
    f += seconds_of(stream, [&] { stage.forward({&input.tensor, 1}, labels.tensor, micro); });
    b += seconds_of(stream, [&] { stage.backward_input(from_next, micro); });
    w += seconds_of(stream, [&] { stage.backward_weight(micro); });
    ++micro.index;  // later micro-batches add to the gradients, as most of a step's do
  };
  run();
  f = b = w = 0;
  for (auto _ : state) run();
  const double images = static_cast<double>(state.iterations()) * kRows;
  state.counters["F images/s"] = images / f;
  state.counters["B images/s"] = images / b;
  state.counters["W images/s"] = images / w;
  state.counters["images/s"] = images / (f + b + w);
}

void measure_step(State& state) {
  const int stages = static_cast<int>(state.range(0));
  constexpr int kMicroBatches = 8;
  Network network = make_alexnet();
  Partition partition{{0}, network.size()};
  if (stages == 2) partition.first.push_back(kCut);
  Job job(std::move(network), alexnet_input(), partition,
          one_f_one_b_schedule(stages, kMicroBatches));
  job.step();
  const Clock::time_point begin = Clock::now();
  for (auto _ : state) job.step();
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  state.counters["images/s"] =
      static_cast<double>(state.iterations()) * kRows * kMicroBatches / seconds;
}

void add_stage(const char* name, int first, int end) {
  benchmark::RegisterBenchmark(name, measure_stage, first, end)
      ->UseRealTime()
      ->MinTime(2.0)
      ->Unit(benchmark::kMillisecond);
}

}  // namespace
}  // namespace stagecoach

int main(int argc, char** argv) {
  using namespace stagecoach;
  benchmark::RegisterBenchmark("machinery", measure_machinery, one_f_one_b_schedule)
      ->ArgNames({"K", "M"})
      ->Args({1, 64})
      ->Args({2, 64})
      ->Args({4, 64})
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
  // All micro-batches in flight at once: what an action costs may not grow with them.
  benchmark::RegisterBenchmark("machinery_gpipe", measure_machinery, gpipe_schedule)
      ->ArgNames({"K", "M"})
      ->ArgsProduct({{2}, {256, 1024, 4096, 16384}})
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
  const int layers = make_alexnet().size();
  add_stage("stage/K:1", 0, layers);
  add_stage("stage/K:2/first", 0, kCut);
  add_stage("stage/K:2/last", kCut, layers);
  benchmark::RegisterBenchmark("step/K", measure_step)
      ->Arg(1)
      ->Arg(2)
      ->UseRealTime()
      ->Iterations(2)
      ->Unit(benchmark::kMillisecond);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
