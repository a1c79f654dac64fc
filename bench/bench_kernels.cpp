// Speed of the kernels at AlexNet's shapes. "share" is the part of what this machine's multiply-add
// units do at most, measured at the start.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <functional>
#include <string>

#include "core/buffer.h"
#include "kernels/conv2d.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vector.h"
#include "kernels/linear.h"

namespace stagecoach {
namespace {

using benchmark::State;

// Floating-point operations a second that one core does in independent multiply-adds.
double measure_peak() {
  constexpr int kChains = 12;
  constexpr std::int64_t kSteps = 20'000'000;
  double best = 0.0;
  for (int round = 0; round < 3; ++round) {
    std::array<cpu::Vector, kChains> sums{};
    cpu::Vector factor = {};
    benchmark::DoNotOptimize(factor);
    const Clock::time_point begin = Clock::now();
    for (std::int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
      for (int chain = 0; chain < kChains; ++chain) {
        sums[chain] = sums[chain] * factor + factor;
      }
    }
    benchmark::DoNotOptimize(sums);
    const std::chrono::duration<double> seconds = Clock::now() - begin;
    best = std::max(best, 2.0 * cpu::kLanes * kChains * kSteps / seconds.count());
  }
  return best;
}

const double kPeak = measure_peak();

struct Setting {
  std::int64_t batch;
  int threads;
};
constexpr Setting kSettings[] = {{32, 1}, {32, 2}, {8, 1}};

OwnedTensor ones(const TensorSpec& spec) {
  OwnedTensor result(spec);
  std::fill_n(result.tensor.as<float>(), spec.elements(), 1.0f);
  return result;
}

// Times `operation` on a context, and counts `flops` floating-point operations and `bytes` moved
// for each call; 0 counts nothing.
void measure(State& state, int threads, std::int64_t workspace_bytes, double flops, double bytes,
             const std::function<void(Context&)>& operation) {
  const OwnedTensor workspace = ones(row_major({workspace_bytes / 4}));
  Context context(threads);
  context.set_workspace(workspace.tensor);
  const auto run = [&] {
    operation(context);
    context.stream().synchronize();
  };
  run();  // first use of the memory
  const Clock::time_point begin = Clock::now();
  for (auto _ : state) run();
  const std::chrono::duration<double> seconds = Clock::now() - begin;
  const double calls = static_cast<double>(state.iterations()) / seconds.count();
  if (flops > 0.0) {
    state.counters["GFLOP/s"] = 1e-9 * flops * calls;
    state.counters["share"] = flops * calls / (kPeak * threads);
  }
  if (bytes > 0.0) state.counters["GB/s"] = 1e-9 * bytes * calls;
}

void add(const std::string& name, const Setting& setting, const std::function<void(State&)>& run) {
  const std::string full = name + "/batch:" + std::to_string(setting.batch) +
                           "/threads:" + std::to_string(setting.threads);
  benchmark::RegisterBenchmark(full.c_str(), run)->UseRealTime()->Unit(benchmark::kMillisecond);
}

struct Conv2dCase {
  const char* name;
  std::int64_t channels, size, outputs, kernel;
  Conv2dOptions options;
};
constexpr Conv2dCase kConv2d[] = {
    {"conv1", 3, 224, 64, 11, {4, 4, 2, 2}},  {"conv2", 64, 27, 192, 5, {1, 1, 2, 2}},
    {"conv3", 192, 13, 384, 3, {1, 1, 1, 1}}, {"conv4", 384, 13, 256, 3, {1, 1, 1, 1}},
    {"conv5", 256, 13, 256, 3, {1, 1, 1, 1}},
};

void add_conv2d(const Conv2dCase& c, const Setting& setting) {
  const TensorSpec x = channels_last(setting.batch, c.channels, c.size, c.size);
  const TensorSpec w = channels_last(c.outputs, c.channels, c.kernel, c.kernel);
  const TensorSpec y = conv2d_output(x, w, c.options);
  const double flops = 2.0 * y.elements() * c.channels * c.kernel * c.kernel;
  const int threads = setting.threads;
  const std::int64_t scratch = conv2d_workspace_bytes(x, w, c.options, threads);
  add(std::string(c.name) + "/F", setting, [=](State& state) {
    const OwnedTensor in = ones(x), weight = ones(w), bias = ones(row_major({c.outputs}));
    const OwnedTensor out = ones(y);
    measure(state, threads, scratch, flops, 0.0, [&](Context& context) {
      conv2d_forward(context, out.tensor, in.tensor, weight.tensor, bias.tensor, c.options);
    });
  });
  add(std::string(c.name) + "/B", setting, [=](State& state) {
    const OwnedTensor in = ones(x), weight = ones(w), out = ones(y);
    measure(state, threads, scratch, flops, 0.0, [&](Context& context) {
      conv2d_backward_input(context, in.tensor, out.tensor, weight.tensor, c.options);
    });
  });
  add(std::string(c.name) + "/W", setting, [=](State& state) {
    const OwnedTensor in = ones(x), weight = ones(w), bias = ones(row_major({c.outputs}));
    const OwnedTensor out = ones(y);
    measure(state, threads, scratch, flops, 0.0, [&](Context& context) {
      conv2d_backward_weight(context, weight.tensor, bias.tensor, out.tensor, in.tensor, c.options,
                             GradientMode::kAccumulate);
    });
  });
}

struct LinearCase {
  const char* name;
  std::int64_t inputs, outputs;
};
constexpr LinearCase kLinear[] = {{"fc6", 9216, 4096}, {"fc7", 4096, 4096}, {"fc8", 4096, 10}};

void add_linear(const LinearCase& c, const Setting& setting) {
  const TensorSpec x = row_major({setting.batch, c.inputs});
  const TensorSpec w = row_major({c.outputs, c.inputs});
  const TensorSpec y = row_major({setting.batch, c.outputs});
  const double flops = 2.0 * setting.batch * w.elements();
  const double bytes = w.bytes();
  add(std::string(c.name) + "/F", setting, [=](State& state) {
    const OwnedTensor in = ones(x), weight = ones(w), bias = ones(row_major({c.outputs}));
    const OwnedTensor out = ones(y);
    measure(state, setting.threads, 0, flops, bytes, [&](Context& context) {
      linear_forward(context, out.tensor, in.tensor, weight.tensor, bias.tensor);
    });
  });
  add(std::string(c.name) + "/B", setting, [=](State& state) {
    const OwnedTensor in = ones(x), weight = ones(w), out = ones(y);
    measure(state, setting.threads, 0, flops, bytes, [&](Context& context) {
      linear_backward_input(context, in.tensor, out.tensor, weight.tensor);
    });
  });
  add(std::string(c.name) + "/W", setting, [=](State& state) {
    const OwnedTensor in = ones(x), weight = ones(w), bias = ones(row_major({c.outputs}));
    const OwnedTensor out = ones(y);
    measure(state, setting.threads, 0, flops, 2.0 * bytes, [&](Context& context) {
      linear_backward_weight(context, weight.tensor, bias.tensor, out.tensor, in.tensor,
                             GradientMode::kAccumulate);
    });
  });
}

}  // namespace
}  // namespace stagecoach

int main(int argc, char** argv) {
  using namespace stagecoach;
  for (const Setting& setting : kSettings) {
    for (const Conv2dCase& c : kConv2d) add_conv2d(c, setting);
    for (const LinearCase& c : kLinear) add_linear(c, setting);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("GEMM", cpu::gemm_library());
  benchmark::AddCustomContext("peak GFLOP/s of one core", std::to_string(kPeak * 1e-9));
  benchmark::RunSpecifiedBenchmarks();
}
