#include "kernels/optimizers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "tests/kernels/checks.h"
#include "tests/kernels/tensors.h"

namespace stagecoach {
namespace {

using testing::bytes_of;
using testing::copy_of;
using testing::expect_error;
using testing::expect_same_bytes_everywhere;
using testing::random_tensor;
using testing::run_on_context;

using Values = std::array<float, 5>;

constexpr Values kStart = {0.5f, -1.25f, 3.0f, 1e-3f, -0.75f};
constexpr Values kGrads[3] = {{0.1f, -0.2f, 0.3f, -4e-5f, 25.0f},
                              {-0.05f, 0.4f, 0.0f, 2e-5f, -31.0f},
                              {0.7f, -0.6f, 1e-8f, 1.0f, 3.5f}};

OwnedTensor tensor_of(const Values& values) {
  OwnedTensor result(row_major({5}));
  std::copy(values.begin(), values.end(), result.tensor.as<float>());
  return result;
}

void expect_near(const Tensor& result, const Values& expected) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(result.as<float>()[i], expected[i], 3e-7 * std::abs(expected[i]) + 3e-10) << i;
  }
}

// What torch.optim of PyTorch 2.15.0 makes of kStart with kGrads.
struct Golden {
  float weight_decay;
  Values after_one, after_three;  // the parameter
  Values first, second;           // after three steps: velocity; or both moments
};

TEST(Sgd, AgreesWithPyTorch) {
  const Golden goldens[] = {
      {0.0f,
       {0.499000013f, -1.24800003f, 2.99699998f, 0.00100040005f, -1.0f},
       {0.491239995f, -1.24618006f, 2.99186993f, -0.00899929553f, -0.873500049f},
       {0.736000001f, -0.40200001f, 0.243000016f, 0.999985576f, -4.14999962f},
       {}},
      {5e-4f,
       {0.498997509f, -1.24799371f, 2.99698496f, 0.00100039504f, -0.999996245f},
       {0.491225988f, -1.24614489f, 2.991786f, -0.00899932347f, -0.87347573f},
       {0.736676276f, -0.403692961f, 0.247060791f, 0.999986947f, -4.15121269f},
       {}}};
  for (const Golden& golden : goldens) {
    const OwnedTensor parameter = tensor_of(kStart), velocity(row_major({5}));
    for (int step = 1; step <= 3; ++step) {
      const OwnedTensor grad = tensor_of(kGrads[step - 1]);
      run_on_context(1, [&](Context& context) {
        begin_step(context, {.learning_rate = 0.01f});
        sgd_step(context, parameter.tensor, velocity.tensor, grad.tensor,
                 {.momentum = 0.9f, .weight_decay = golden.weight_decay});
      });
      if (step == 1) expect_near(parameter.tensor, golden.after_one);
    }
    expect_near(parameter.tensor, golden.after_three);
    expect_near(velocity.tensor, golden.first);
  }
}

TEST(Adam, AgreesWithPyTorch) {
  const Golden goldens[] = {
      {0.0f,
       {0.499000013f, -1.24899995f, 2.99900007f, 0.00199975027f, -0.750999987f},
       {0.498070389f, -1.24902284f, 2.99781227f, 0.00162719865f, -0.750774801f},
       {0.0736000016f, -0.0402000025f, 0.0243000016f, 0.0999985561f, -0.415000021f},
       {0.000502477516f, 0.000559760083f, 8.98201033e-05f, 0.00100000005f, 1.59603965f}},
      {5e-4f,
       {0.499000013f, -1.24899995f, 2.99900007f, 0.00199974701f, -0.750999987f},
       {0.498067141f, -1.24901974f, 2.99780226f, 0.00160298974f, -0.750774741f},
       {0.0736676455f, -0.0403692946f, 0.0247063749f, 0.0999987945f, -0.415101796f},
       {0.000502851792f, 0.000560261251f, 9.07250505e-05f, 0.00100000214f, 1.59604168f}}};
  for (const Golden& golden : goldens) {
    const OwnedTensor parameter = tensor_of(kStart), m(row_major({5})), v(row_major({5}));
    for (int step = 1; step <= 3; ++step) {
      const OwnedTensor grad = tensor_of(kGrads[step - 1]);
      run_on_context(1, [&](Context& context) {
        const AdamOptions options{.weight_decay = golden.weight_decay};
        begin_step(context, {.adam = adam_rates(1e-3f, options, step)});
        adam_step(context, parameter.tensor, m.tensor, v.tensor, grad.tensor, options);
      });
      if (step == 1) expect_near(parameter.tensor, golden.after_one);
    }
    expect_near(parameter.tensor, golden.after_three);
    expect_near(m.tensor, golden.first);
    expect_near(v.tensor, golden.second);
  }
}

// The state of many elements after some steps, in double.
constexpr std::int64_t kMany = 70001;  // more than the piece of one task
constexpr int kSteps = 4;

struct Many {
  OwnedTensor parameter = random_tensor(row_major({kMany}), 1), first{row_major({kMany})},
              second{row_major({kMany})};
  OwnedTensor grad = random_tensor(row_major({kMany}), 2, 0.1f);
  float at(const OwnedTensor& owned, std::int64_t i) const { return owned.tensor.as<float>()[i]; }
};

TEST(Sgd, AgreesWithDoubleForEveryElement) {
  for (const float momentum : {0.0f, 0.9f}) {
    const float learning_rate = 0.1f;
    const SgdOptions options{.momentum = momentum, .weight_decay = 1e-2f};
    const Many start, many;
    run_on_context(2, [&](Context& context) {
      begin_step(context, {.learning_rate = learning_rate});
      for (int step = 0; step < kSteps; ++step) {
        sgd_step(context, many.parameter.tensor, many.first.tensor, many.grad.tensor, options);
      }
    });
    for (std::int64_t i = 0; i < kMany; ++i) {
      double parameter = start.at(start.parameter, i), velocity = 0.0;
      for (int step = 0; step < kSteps; ++step) {
        velocity =
            options.momentum * velocity + many.at(many.grad, i) + options.weight_decay * parameter;
        parameter -= learning_rate * velocity;
      }
      ASSERT_NEAR(many.at(many.parameter, i), parameter, 5e-7) << i;
      ASSERT_NEAR(many.at(many.first, i), velocity, 5e-7) << i;
    }
  }
}

TEST(Adam, AgreesWithDoubleForEveryElement) {
  const float learning_rate = 0.01f;
  const AdamOptions options{.weight_decay = 1e-2f};
  const Many start, many;
  run_on_context(2, [&](Context& context) {
    for (int step = 1; step <= kSteps; ++step) {
      begin_step(context, {.adam = adam_rates(learning_rate, options, step)});
      adam_step(context, many.parameter.tensor, many.first.tensor, many.second.tensor,
                many.grad.tensor, options);
    }
  });
  for (std::int64_t i = 0; i < kMany; ++i) {
    double parameter = start.at(start.parameter, i), m = 0.0, v = 0.0;
    for (int step = 1; step <= kSteps; ++step) {
      const double g = many.at(many.grad, i) + options.weight_decay * parameter;
      m = options.beta1 * m + (1.0 - options.beta1) * g;
      v = options.beta2 * v + (1.0 - options.beta2) * g * g;
      const double rate = learning_rate / (1.0 - std::pow(options.beta1, step));
      const double root = std::sqrt(v / (1.0 - std::pow(options.beta2, step)));
      parameter -= rate * m / (root + options.epsilon);
    }
    ASSERT_NEAR(many.at(many.first, i), m, 1e-7) << i;
    ASSERT_NEAR(many.at(many.second, i), v, 1e-8) << i;
    // A gradient near 0 makes a step of unsure sign, never one above the rate.
    if (std::abs(many.at(many.grad, i)) < 1e-3f) continue;
    ASSERT_NEAR(many.at(many.parameter, i), parameter, 2e-6) << i;
  }
}

// The arithmetic of each element, written out: which products and sums are one operation.

TEST(Sgd, HasTheBitsOfItsArithmetic) {
  const float rate = 0.1f;
  const SgdOptions options{.momentum = 0.9f, .weight_decay = 1e-2f};
  testing::for_each_instruction_set([&](const std::string& name) {
    const Many start, many;
    run_on_context(2, [&](Context& context) {
      begin_step(context, {.learning_rate = rate});
      for (int step = 0; step < kSteps; ++step) {
        sgd_step(context, many.parameter.tensor, many.first.tensor, many.grad.tensor, options);
      }
    });
    for (std::int64_t i = 0; i < kMany; ++i) {
      float parameter = start.at(start.parameter, i), velocity = 0.0f;
      for (int step = 0; step < kSteps; ++step) {
        const float g = std::fma(options.weight_decay, parameter, many.at(many.grad, i));
        velocity = std::fma(options.momentum, velocity, g);
        parameter = std::fma(-rate, velocity, parameter);
      }
      ASSERT_EQ(many.at(many.parameter, i), parameter) << name << ", " << i;
      ASSERT_EQ(many.at(many.first, i), velocity) << name << ", " << i;
    }
  });
}

TEST(Adam, HasTheBitsOfItsArithmetic) {
  const AdamOptions options{.weight_decay = 1e-2f};
  const auto new1 = static_cast<float>(1.0 - options.beta1);
  const auto beta2 = static_cast<float>(options.beta2);
  const auto new2 = static_cast<float>(1.0 - options.beta2);
  testing::for_each_instruction_set([&](const std::string& name) {
    const Many start, many;
    run_on_context(2, [&](Context& context) {
      for (int step = 1; step <= kSteps; ++step) {
        begin_step(context, {.adam = adam_rates(0.01f, options, step)});
        adam_step(context, many.parameter.tensor, many.first.tensor, many.second.tensor,
                  many.grad.tensor, options);
      }
    });
    for (std::int64_t i = 0; i < kMany; ++i) {
      float parameter = start.at(start.parameter, i), m = 0.0f, v = 0.0f;
      for (int step = 1; step <= kSteps; ++step) {
        const AdamRates rates = adam_rates(0.01f, options, step);
        const float g = std::fma(options.weight_decay, parameter, many.at(many.grad, i));
        m = std::fma(new1, g - m, m);
        v = std::fma(new2 * g, g, beta2 * v);
        parameter -= rates.rate * m / (std::sqrt(v) / rates.root2 + options.epsilon);
      }
      ASSERT_EQ(many.at(many.parameter, i), parameter) << name << ", " << i;
      ASSERT_EQ(many.at(many.first, i), m) << name << ", " << i;
      ASSERT_EQ(many.at(many.second, i), v) << name << ", " << i;
    }
  });
}

// A parameter lies elsewhere in the flat buffer of another split into stages, so an element must
// not depend on its place: in a vector, in the remainder, in a task.
template <typename Step>
void expect_same_bits_at_every_place(const Step& step) {
  const Many whole;
  step(whole.parameter.tensor, whole.first.tensor, whole.second.tensor, whole.grad.tensor);
  const Many source;
  for (std::int64_t begin = 1; begin < 40; begin += 3) {
    const std::int64_t size = 100 - begin;
    const Many parts;
    const auto part = [&](const OwnedTensor& owned) {
      return owned.buffer.view(row_major({size}), begin * 4);
    };
    step(part(parts.parameter), part(parts.first), part(parts.second), part(parts.grad));
    for (std::int64_t i = 0; i < 110; ++i) {
      const bool inside = i >= begin && i < begin + size;
      ASSERT_EQ(parts.at(parts.parameter, i),
                inside ? whole.at(whole.parameter, i) : source.at(source.parameter, i));
      ASSERT_EQ(parts.at(parts.first, i), inside ? whole.at(whole.first, i) : 0.0f);
      ASSERT_EQ(parts.at(parts.second, i), inside ? whole.at(whole.second, i) : 0.0f);
    }
  }
}

TEST(Sgd, GivesTheSameBitsAtEveryPlaceOfTheBuffer) {
  expect_same_bits_at_every_place([](Tensor parameter, Tensor velocity, Tensor, Tensor grad) {
    run_on_context(2, [&](Context& context) {
      begin_step(context, {.learning_rate = 0.01f});
      for (int step = 0; step < 3; ++step) {
        sgd_step(context, parameter, velocity, grad, {.weight_decay = 0.01f});
      }
    });
  });
}

TEST(Adam, GivesTheSameBitsAtEveryPlaceOfTheBuffer) {
  expect_same_bits_at_every_place([](Tensor parameter, Tensor m, Tensor v, Tensor grad) {
    run_on_context(2, [&](Context& context) {
      for (int step = 1; step <= 3; ++step) {
        begin_step(context, {.adam = adam_rates(1e-3f, {}, step)});
        adam_step(context, parameter, m, v, grad, {.weight_decay = 0.01f});
      }
    });
  });
}

// The rates are those that were told before it was enqueued, on one road for both.
TEST(Optimizers, TakeTheRatesOfTheStepThatHadBegun) {
  const OwnedTensor start = random_tensor(row_major({9}), 1),
                    grad = random_tensor(row_major({9}), 2);
  const auto moved = [&](const std::vector<float>& rates) {
    const OwnedTensor p = copy_of(start.tensor), velocity(row_major({9})), m(row_major({9})),
                      v(row_major({9}));
    run_on_context(1, [&](Context& context) {
      for (const float rate : rates) {
        begin_step(context, {.learning_rate = rate, .adam = {.rate = rate}});
        sgd_step(context, p.tensor, velocity.tensor, grad.tensor, {.momentum = 0});
        adam_step(context, p.tensor, m.tensor, v.tensor, grad.tensor, {});
      }
    });
    return bytes_of(p.tensor);
  };
  EXPECT_EQ(moved({0.0f, 0.0f}), bytes_of(start.tensor));
  EXPECT_NE(moved({0.1f, 0.0f}), moved({0.0f, 0.1f}));
}

TEST(Optimizers, GiveTheSameBytesEverywhere) {
  expect_same_bytes_everywhere([](int threads) {
    const OwnedTensor parameter = random_tensor(row_major({200003}), 1);
    const OwnedTensor grad = random_tensor(row_major({200003}), 2);
    const OwnedTensor velocity(row_major({200003})), m(row_major({200003})), v(row_major({200003}));
    run_on_context(threads, [&](Context& context) {
      begin_step(context, {.learning_rate = 0.01f, .adam = adam_rates(1e-3f, {}, 1)});
      sgd_step(context, parameter.tensor, velocity.tensor, grad.tensor, {});
      adam_step(context, parameter.tensor, m.tensor, v.tensor, grad.tensor, {});
    });
    return bytes_of(parameter.tensor);
  });
}

TEST(Optimizers, RefuseOtherTensors) {
  Context context;
  const OwnedTensor p(row_major({4})), other(row_major({5})), matrix(row_major({2, 2}));
  expect_error([&] { sgd_step(context, matrix.tensor, p.tensor, p.tensor, {}); },
               {"sgd_step", "parameter F32 [n]", "[2, 2]"});
  expect_error([&] { sgd_step(context, p.tensor, other.tensor, p.tensor, {}); },
               {"sgd_step", "velocity F32 [4]", "[5]"});
  expect_error([&] { sgd_step(context, p.tensor, p.tensor, other.tensor, {}); },
               {"sgd_step", "grad F32 [4]", "[5]"});
  expect_error([&] { adam_step(context, p.tensor, other.tensor, p.tensor, p.tensor, {}); },
               {"adam_step", "m F32 [4]", "[5]"});
  expect_error([&] { adam_step(context, p.tensor, p.tensor, other.tensor, p.tensor, {}); },
               {"adam_step", "v F32 [4]", "[5]"});
  expect_error([&] { adam_rates(1e-3f, {}, 0); }, {"adam_rates", "step >= 1", "step 0"});
}

}  // namespace
}  // namespace stagecoach
