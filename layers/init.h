// How a parameter or a buffer begins: torch.nn.init's distributions.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "core/context.h"
#include "core/philox.h"

namespace stagecoach {

struct Init {
  enum class Kind : std::uint8_t {
    kConstant,  // `a` everywhere
    kUniform,   // in [-a, a)
    kNormal,    // mean `a`, standard deviation `b`
  };
  Kind kind = Kind::kConstant;
  float a = 0, b = 0;

  static Init constant(float value) { return {Kind::kConstant, value, 0}; }
  static Init uniform(float bound) { return {Kind::kUniform, bound, 0}; }
  static Init normal(float mean, float deviation) { return {Kind::kNormal, mean, deviation}; }
  // He et al. 2015 ("Delving deep into rectifiers"): variance gain^2 / fan. `fan`: inputs of one
  // output (fan_in), or outputs of one input. Gain: sqrt(2) in front of a ReLU.
  static Init kaiming_uniform(std::int64_t fan, double gain);
  static Init kaiming_normal(std::int64_t fan, double gain);
  // Glorot and Bengio 2010: variance 2 gain^2 / (fan_in + fan_out).
  static Init xavier_uniform(std::int64_t fan_in, std::int64_t fan_out, double gain = 1);
  static Init xavier_normal(std::int64_t fan_in, std::int64_t fan_out, double gain = 1);
};

// How a network's parameters begin.
enum class InitScheme : std::uint8_t {
  kTorch,  // as each layer says, which is as its PyTorch namesake does
  // Weights of two and more dimensions by kaiming_uniform(fan_in, sqrt(2)), biases at 0: with a
  // ReLU behind each, activations keep their size through any number of layers. The network's last
  // layer, which has none behind it, begins as it says.
  kKaiming,
};

// Of a parameter with this name, shape [outputs, inputs, ...] and layer's own beginning.
Init init_of(InitScheme scheme, std::string_view name, const Shape& shape, const Init& own);

// Where a tensor lies in a larger one, of which it is a part: see ParameterSpec.
using SliceOffset = std::array<std::int64_t, Shape::kMaxRank>;

// Fills `tensor` F32, the slice at `offset` of a tensor of the shape `global`: every element has
// the value that it has in the whole, which depends on `stream` and its place there alone. Throws
// Error when the slice does not lie in the whole. Normal numbers by Box and Muller (1958) in
// double.
void initialize(Context& context, const Tensor& tensor, const Init& init,
                const RandomStream& stream, const Shape& global, const SliceOffset& offset = {});

}  // namespace stagecoach
