#include "bench/bench_cuda_experiments.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "bench/compiled_gradient.h"
#include "bench/convolutions.h"
#include "bench/cuda_timing.h"
#include "core/copy.h"
#include "core/error.h"
#include "kernels/cast.h"
#include "kernels/channel_sums.h"
#include "kernels/conv2d.h"
#include "kernels/cuda/conv2d_library.h"
#include "kernels/cuda/conv2d_packing.h"
#include "kernels/cuda/matrix_product.h"
#include "kernels/cuda/operations.h"
#include "kernels/relu.h"

namespace stagecoach {
namespace {

using cuda::ConvKind;
using cuda::Convolution;
using cuda::ConvProblem;
using cuda::GradientGraph;
using cuda::GradientOperands;
using cuda::kAlexNetConvolutions;

constexpr std::int64_t kBatch = 128;
const Clock::time_point kProgramBegin = Clock::now();

TensorSpec input_of(const ConvProblem& p) {
  return channels_last(p.n, p.c, p.h, p.w, p.dtype());
}
TensorSpec weight_of(const ConvProblem& p) {
  return channels_last(p.o, p.c, p.kh, p.kw, p.dtype());
}
TensorSpec output_of(const ConvProblem& p) {
  return channels_last(p.n, p.o, p.out_h(), p.out_w(), p.dtype());
}
void* make_bytes(GpuTensors& t, std::int64_t bytes) {
  return t.make(row_major({bytes}, DType::kU8)).data;
}

// scripts/gpu_check.sh stops the program after 150 s, and a compilation cannot be interrupted.
benchmark::internal::Benchmark* add_in_time(const std::string& name, Precision precision,
                                            const std::function<void(benchmark::State&)>& run) {
  return add_benchmark(name, precision, kBatch, [=](benchmark::State& state) {
    constexpr std::chrono::seconds kLimit{120};
    STAGECOACH_CHECK(Clock::now() - kProgramBegin < kLimit, "bench_cuda",
                     fmt::format("the experiment to begin within {} s", kLimit.count()),
                     "no time left", "run it alone: --benchmark_filter");
    run(state);
  });
}

void add_way(const std::string& name, Precision precision, const Setup& setup) {
  add_in_time(name, precision, [=](benchmark::State& state) {
    Context context(gpu_target(precision));
    GpuTensors tensors(context);
    time_calls(state, context, setup(tensors));
  });
}

// A gradient as the program computes it, and the memory of a graph that computes the same.
struct Gradient {
  std::function<void()> today;
  GradientOperands operands;
  std::vector<Tensor> results;  // of both
};
using MakeGradient = std::function<Gradient(GpuTensors&)>;

using Values = std::vector<std::vector<float>>;

Values values_of(GpuTensors& t, const std::vector<Tensor>& tensors) {
  Values values;
  for (const Tensor& tensor : tensors) {
    TensorSpec spec = tensor.spec;
    spec.dtype = DType::kF32;
    Tensor wide = tensor;
    if (tensor.spec.dtype != DType::kF32) cast(t.context(), wide = t.make(spec), tensor);
    const OwnedTensor host = to_host(t.context().stream(), wide);
    const auto* begin = host.tensor.as<float>();
    values.emplace_back(begin, begin + wide.elements());
  }
  return values;
}

// The greatest difference over the greatest value, in the tensor where that is worst.
double difference(const Values& values, const Values& expected) {
  double result = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    double worst = 0, greatest = 0;
    for (std::size_t j = 0; j < values[i].size(); ++j) {
      if (!std::isfinite(values[i][j])) return INFINITY;
      worst = std::max(worst, std::abs(double{values[i][j]} - expected[i][j]));
      greatest = std::max(greatest, std::abs(double{expected[i][j]}));
    }
    result = std::max(result, worst / greatest);
  }
  return result;
}

void time_compiled(benchmark::State& state, GradientGraph kind, const ConvProblem& problem,
                   std::size_t candidate, const MakeGradient& make) {
  Context context(gpu_target(problem.precision));
  cuda::CompiledGradient compiled(context, kind, problem, candidate);
  GpuTensors tensors(context);
  Gradient gradient = make(tensors);
  gradient.operands.workspace = make_bytes(tensors, compiled.workspace_bytes());
  const auto run = [&] { compiled.run(gradient.operands); };
  run();
  const Values first = values_of(tensors, gradient.results);
  time_calls(state, context, run);
  const Values last = values_of(tensors, gradient.results);
  gradient.today();
  const double differs = difference(first, values_of(tensors, gradient.results));
  // Of bf16's rounding, and of sums in another order.
  constexpr double kTolerance = 0.02;
  STAGECOACH_CHECK(differs < kTolerance, "cuDNN",
                   fmt::format("a result within {} of the program's", kTolerance),
                   fmt::format("{} by {}", differs, compiled.notes().to_string()));
  state.counters["difference"] = differs;
  state.counters["same_bits"] = first == last ? 1 : 0;
  state.counters["compile_s"] = compiled.compile_seconds();
  state.counters["engine"] = static_cast<double>(compiled.notes().engine);
}

void add_gradient(const std::string& name, GradientGraph kind, const ConvProblem& problem,
                  const MakeGradient& make) {
  // All that tests/cudnn lists for the gradient of a weight; of the others, more are alike.
  const std::size_t candidates = kind == GradientGraph::kWideWeight ? 2 : 3;
  add_way(name + "/today", problem.precision, [=](GpuTensors& t) { return make(t).today; });
  for (std::size_t candidate = 0; candidate < candidates; ++candidate) {
    const std::string full = name + "/compiled" + std::to_string(candidate);
    // Without a fixed number of iterations, it would be compiled once for each guess of one.
    add_in_time(full, problem.precision, [=](benchmark::State& state) {
      time_compiled(state, kind, problem, candidate, make);
    })->Iterations(20);
  }
}

// Of a convolution whose input is the output of a ReLU.
void add_relu_gradient(const Convolution& layer, Precision precision, bool with_bias) {
  const ConvProblem p = layer.problem(ConvKind::kBackwardInput, precision, kBatch);
  const auto make = [=](GpuTensors& t) -> Gradient {
    t.add_workspace(
        conv2d_workspace_bytes(input_of(p), weight_of(p), p.options(), gpu_target(precision)));
    const Tensor dx = t.make(input_of(p)), output = t.make(input_of(p)), w = t.make(weight_of(p)),
                 dy = t.make(output_of(p)), sums = t.make(row_major({p.c})),
                 channel_sums = with_bias ? t.make(channel_sums_spec(input_of(p))) : Tensor{};
    void* sums_workspace = make_bytes(t, cuda::bias_grad_workspace_bytes(p.n * p.h * p.w, p.c));
    const auto today = [=, &context = t.context()] {
      conv2d_backward_input(context, dx, dy, w, p.options());
      relu_backward(context, dx, dx, output, channel_sums);
      if (!with_bias) return;
      cuda::bias_grad(context, sums, dx, channel_sums, GradientMode::kOverwrite, sums_workspace);
    };
    const GradientOperands operands = {.x = dx.data,
                                       .w = w.data,
                                       .y = dy.data,
                                       .relu_output = output.data,
                                       .bias_grad = sums.data};
    return {today, operands, with_bias ? std::vector{dx, sums} : std::vector{dx}};
  };
  const std::string question = with_bias ? "B+relu+bias_grad/" : "B+relu/";
  add_gradient(question + layer.name,
               with_bias ? GradientGraph::kReluAndBias : GradientGraph::kRelu, p, make);
}

// The gradient of a weight in F32 from operands in bf16.
void add_wide_weight_gradient(const Convolution& layer) {
  const ConvProblem p =
      cuda::packed_problem(layer.problem(ConvKind::kBackwardWeight, Precision::kBf16, kBatch));
  TensorSpec wide = weight_of(p);
  wide.dtype = DType::kF32;
  const auto make = [=](GpuTensors& t) -> Gradient {
    const Tensor x = t.make(input_of(p)), dy = t.make(output_of(p)), narrow = t.make(weight_of(p)),
                 dw = t.make(wide);
    void* workspace = make_bytes(t, cuda::library_workspace_bytes(p, gpu_target(Precision::kBf16)));
    const auto today = [=, &context = t.context()] {
      cuda::run_convolution(context, p,
                            {.x = x.data, .w = narrow.data, .y = dy.data, .workspace = workspace});
      cast(context, dw, narrow);
    };
    return {today, {.x = x.data, .w = dw.data, .y = dy.data}, {dw}};
  };
  add_gradient(std::string("W_f32/") + layer.name, GradientGraph::kWideWeight, p, make);
}

// The first convolution over an input that is already packed, and the packing. `way`: "blocks",
// "channels".
void add_first_convolution(const std::string& way, Precision precision) {
  const ConvProblem images =
      kAlexNetConvolutions[0].problem(ConvKind::kForwardRelu, precision, kBatch);
  ConvProblem packed = images;
  cuda::SpaceToDepth packing;
  if (way == "blocks") {
    packed = cuda::packed_problem(images);
    packing = {.block = cuda::packing_block(images), .padding = images.padding_h};
  } else {
    packed.c = 8;
  }
  for (const ConvKind kind : {ConvKind::kForwardRelu, ConvKind::kBackwardWeight}) {
    ConvProblem p = packed;
    p.kind = kind;
    const std::string name = kind == ConvKind::kForwardRelu ? "first_conv/F/" : "first_conv/W/";
    add_way(name + way, precision, [=](GpuTensors& t) {
      const cuda::ConvOperands operands{
          .x = t.make(input_of(p)).data,
          .w = t.make(weight_of(p)).data,
          .y = t.make(output_of(p)).data,
          .bias = t.make(row_major({p.o}, p.dtype())).data,
          .workspace = make_bytes(t, cuda::library_workspace_bytes(p, gpu_target(precision)))};
      return [=, &c = t.context()] { cuda::run_convolution(c, p, operands); };
    });
  }
  add_way("first_conv/pack/" + way, precision, [=](GpuTensors& t) {
    return [=, &c = t.context(), to = t.make(input_of(packed)), from = t.make(input_of(images))] {
      cuda::space_to_depth(c, to, from, packing);
    };
  });
}

// Gradients of all convolutions but the first, in the order of a backward pass.
std::function<void()> make_gradients(GpuTensors& t, Precision precision) {
  std::vector<std::function<void()>> operations;
  std::int64_t workspace_bytes = 0;
  for (const int i : {4, 3, 2, 1}) {
    const ConvProblem p =
        kAlexNetConvolutions[i].problem(ConvKind::kBackwardInput, precision, kBatch);
    const Conv2dOptions options = p.options();
    TensorSpec wide = weight_of(p);
    wide.dtype = DType::kF32;
    const Tensor x = t.make(input_of(p)), dx = t.make(input_of(p)), w = t.make(weight_of(p)),
                 dw = t.make(wide), dy = t.make(output_of(p)), db = t.make(row_major({p.o}));
    workspace_bytes = std::max(
        workspace_bytes, conv2d_workspace_bytes(x.spec, w.spec, options, gpu_target(precision)));
    operations.push_back([=, &c = t.context()] {
      conv2d_backward_input(c, dx, dy, w, options);
      conv2d_backward_weight(c, dw, db, dy, x, options, GradientMode::kOverwrite);
    });
  }
  t.add_workspace(workspace_bytes);
  return [operations] {
    for (const auto& operation : operations) operation();
  };
}

// Of the linear layers' parameters, with the copy in bf16 where the precision needs one.
std::function<void()> make_sgd(GpuTensors& t, Precision precision) {
  const TensorSpec all = row_major({54'575'114});
  const bool has_copy = precision == Precision::kBf16;
  return [&c = t.context(), w = t.make(all), v = t.make(all), g = t.make(all),
          copy = has_copy ? t.make(row_major(all.shape, DType::kBF16)) : Tensor{}] {
    sgd_step(c, w, v, g, {}, copy);
  };
}

void time_two_streams(benchmark::State& state, Precision precision) {
  Context first(gpu_target(precision)), second(gpu_target(precision));
  GpuTensors first_tensors(first), second_tensors(second);
  const std::function<void()> gradients = make_gradients(first_tensors, precision);
  const std::function<void()> sgd = make_sgd(second_tensors, precision);
  const std::function<void()> both = [&] {
    Event fork, join;
    first.stream().record(fork);
    second.stream().wait(fork);
    sgd();
    gradients();
    second.stream().record(join);
    first.stream().wait(join);
  };
  time_calls(state, first, both);  // and all of them are warm
  const double gradients_alone = seconds_per_call(first, gradients);
  const double sgd_alone = seconds_per_call(second, sgd);
  state.counters["gradients_us"] = 1e6 * gradients_alone;
  state.counters["sgd_us"] = 1e6 * sgd_alone;
  state.counters["together/alone"] = seconds_per_call(first, both) / (gradients_alone + sgd_alone);
}

struct Linear {
  const char* name;
  std::int64_t inputs, outputs;
};
constexpr Linear kLinear[] = {{"fc6", 9216, 4096}, {"fc7", 4096, 4096}, {"fc8", 4096, 10}};

// The bias gradient of a linear layer in its product's epilogue, and by a kernel behind it.
void add_bias_gradient(const Linear& layer, Precision precision, bool in_epilogue) {
  const std::string way = in_epilogue ? "/epilogue" : "/separate";
  add_way(std::string("linear_bias_grad/") + layer.name + way, precision, [=](GpuTensors& t) {
    const DType dtype = precision == Precision::kBf16 ? DType::kBF16 : DType::kF32;
    cuda::MatrixProduct product = cuda::backward_weight_product(
        {kBatch, layer.inputs, layer.outputs}, dtype, false, gpu_target(precision));
    if (!in_epilogue) product.epilogue = cuda::Epilogue::kNone;
    const Tensor dy = t.make(row_major({kBatch, layer.outputs}, dtype)),
                 sums = t.make(row_major({layer.outputs}));
    const cuda::ProductOperands operands{.a = t.make(row_major({kBatch, layer.inputs}, dtype)).data,
                                         .b = dy.data,
                                         .d = t.make(row_major({layer.outputs, layer.inputs})).data,
                                         .bias = sums.data,
                                         .workspace = make_bytes(t, cuda::kProductWorkspaceBytes)};
    void* sums_workspace = make_bytes(t, cuda::bias_grad_workspace_bytes(kBatch, layer.outputs));
    return [=, &c = t.context()] {
      STAGECOACH_CHECK(cuda::run_product(c, product, operands), "cuBLASLt",
                       "an algorithm for this product and epilogue", "none");
      if (in_epilogue) return;
      cuda::bias_grad(c, sums, dy, {}, GradientMode::kOverwrite, sums_workspace);
    };
  });
}

}  // namespace

void add_experiments() {
  constexpr Precision kPrecisions[] = {Precision::kBf16, Precision::kTf32};
  for (const Precision precision : kPrecisions) {
    for (const char* way : {"blocks", "channels"}) add_first_convolution(way, precision);
    for (const Linear& layer : kLinear) {
      for (const bool in_epilogue : {true, false}) add_bias_gradient(layer, precision, in_epilogue);
    }
    add_in_time("two_streams/sgd/together", precision,
                [=](benchmark::State& state) { time_two_streams(state, precision); });
  }
  // Last: what cuDNN compiles at run time takes seconds, and is the likeliest to go wrong.
  for (const Precision precision : kPrecisions) {
    for (const Convolution* layer : {&kAlexNetConvolutions[3], &kAlexNetConvolutions[4]}) {
      for (const bool with_bias : {false, true}) add_relu_gradient(*layer, precision, with_bias);
    }
  }
  for (const Convolution& layer : kAlexNetConvolutions) add_wide_weight_gradient(layer);
}

}  // namespace stagecoach
