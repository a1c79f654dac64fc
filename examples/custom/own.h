// A layer and a loss of one's own, for the CPU.
#pragma once

#include <stagecoach/stagecoach.h>

#include <cmath>
#include <functional>

using namespace stagecoach;

inline float* data(const Tensor& tensor) {
  return tensor.as<float>();
}

// Enqueues f(i) for every element of the input.
inline void each(Context& cx, const LayerPlan& plan, std::function<void(std::int64_t)> f) {
  cx.stream().enqueue([n = plan.inputs[0].elements(), f] {
    for (std::int64_t i = 0; i < n; ++i) f(i);
  });
}

// y = (x + sqrt(x * x + 1)) / 2: a smooth ReLU.
struct SquarePlus : Layer {
  std::string describe() const override { return "SquarePlus()"; }
  LayerPlan plan(std::span<const TensorSpec> in, const Target&) const override {
    return {.inputs = {in[0]}, .outputs = {in[0]}, .inputs_needed_by_input = true};
  }
  void forward_impl(Context& cx, const LayerPlan& plan, const LayerCall& c) const override {
    each(cx, plan, [x = data(c.inputs[0]), y = data(c.outputs[0])](std::int64_t i) {
      y[i] = (x[i] + std::sqrt(x[i] * x[i] + 1)) / 2;
    });
  }
  void backward_input_impl(Context& cx, const LayerPlan& plan, const LayerCall& c) const override {
    const float *x = data(c.inputs[0]), *dy = data(c.output_grads[0]);
    each(cx, plan, [x, dy, dx = data(c.input_grads[0])](std::int64_t i) {
      dx[i] = dy[i] * (1 + x[i] / std::sqrt(x[i] * x[i] + 1)) / 2;
    });
  }
};

// log(cosh(p - t)) of predictions and targets [N, 1].
struct LogCosh : Loss {
  std::string describe() const override { return "LogCosh()"; }
  TensorSpec target_spec(const TensorSpec& prediction) const override { return prediction; }
  LayerPlan plan(std::span<const TensorSpec> in, const Target&) const override {
    const TensorSpec losses = row_major({in[0].shape[0]});
    return {.inputs = {in[0], in[1]},
            .outputs = {losses},
            .inputs_needed_by_input = true,
            .differentiable = {true, false}};
  }
  void forward_impl(Context& cx, const LayerPlan& plan, const LayerCall& c) const override {
    const float *p = data(c.inputs[0]), *t = data(c.inputs[1]);
    each(cx, plan, [p, t, loss = data(c.outputs[0])](std::int64_t i) {
      loss[i] = std::log(std::cosh(p[i] - t[i]));
    });
  }
  void backward_input_impl(Context& cx, const LayerPlan& plan, const LayerCall& c) const override {
    const float *p = data(c.inputs[0]), *t = data(c.inputs[1]);
    each(cx, plan, [p, t, b = c.micro.batch, dp = data(c.input_grads[0])](std::int64_t i) {
      dp[i] = std::tanh(p[i] - t[i]) / static_cast<float>(b);
    });
  }
};
