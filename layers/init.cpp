#include "layers/init.h"

#include <cmath>

#include "core/copy.h"
#include "core/error.h"
#include "core/portable_math.h"
#include "kernels/uniform.h"

namespace stagecoach {
namespace {

void check_fan(std::int64_t fan) {
  STAGECOACH_CHECK(fan >= 1, "Init", "a fan of at least 1", fmt::format("{}", fan));
}

float kaiming_deviation(std::int64_t fan, double gain) {
  check_fan(fan);
  return static_cast<float>(gain / std::sqrt(static_cast<double>(fan)));
}

float xavier_deviation(std::int64_t fan_in, std::int64_t fan_out, double gain) {
  check_fan(fan_in);
  check_fan(fan_out);
  return static_cast<float>(gain * std::sqrt(2.0 / static_cast<double>(fan_in + fan_out)));
}

// A uniform distribution in [-b, b) has the standard deviation b / sqrt(3).
float bound_of(float deviation) {
  return static_cast<float>(std::sqrt(3.0) * deviation);
}

// Box and Muller 1958: two uniform numbers make two normal ones. The first is above 0.
double standard_normal(const RandomStream& stream, std::uint64_t element) {
  const std::uint64_t pair = element / 2 * 2;
  const double u = 1.0 - static_cast<double>(uniform01(stream.word(pair)));
  const portable::SinCos direction =
      portable::sin_cos_of_turns(static_cast<double>(uniform01(stream.word(pair + 1))));
  return std::sqrt(-2.0 * portable::log(u)) * (element % 2 == 0 ? direction.cos : direction.sin);
}

// Of element `element` of the whole. Uniform as fill_uniform().
float value_of(const Init& init, const RandomStream& stream, std::uint64_t element) {
  switch (init.kind) {
    case Init::Kind::kConstant:
      return init.a;
    case Init::Kind::kUniform:
      return (2.0f * uniform01(stream.word(element)) - 1.0f) * init.a;
    case Init::Kind::kNormal:
      return static_cast<float>(init.a + init.b * standard_normal(stream, element));
  }
  return 0;
}

void check_slice(const Tensor& tensor, const Shape& global, const SliceOffset& offset) {
  bool inside = global.rank() == tensor.shape().rank();
  for (int i = 0; inside && i < global.rank(); ++i) {
    const std::int64_t at = offset[static_cast<std::size_t>(i)];
    inside = at >= 0 && at <= global[i] - tensor.shape()[i];
  }
  STAGECOACH_CHECK(inside, "initialize", fmt::format("a slice of {}", global.to_string()),
                   fmt::format("{} at another place", tensor.shape().to_string()));
}

// The dimensions of a shape, filled up with ones in front.
std::array<std::int64_t, Shape::kMaxRank> four(const Shape& shape) {
  std::array<std::int64_t, Shape::kMaxRank> dims{1, 1, 1, 1};
  const int ones = Shape::kMaxRank - shape.rank();
  for (int i = 0; i < shape.rank(); ++i) dims[ones + i] = shape[i];
  return dims;
}

// Calls visit(its place in memory, its number in the whole) for every element of a slice.
template <typename Visit>
void for_each_element(const TensorSpec& spec, const Shape& global, const SliceOffset& offset,
                      const Visit& visit) {
  const auto own = four(spec.shape), whole = four(global);
  std::array<std::int64_t, Shape::kMaxRank> from{};
  const int ones = Shape::kMaxRank - global.rank();
  for (int i = 0; i < global.rank(); ++i) from[ones + i] = offset[i];
  const bool channels_last = spec.format == MemoryFormat::kChannelsLast;
  for (std::int64_t n = 0; n < own[0]; ++n) {
    for (std::int64_t c = 0; c < own[1]; ++c) {
      for (std::int64_t h = 0; h < own[2]; ++h) {
        for (std::int64_t w = 0; w < own[3]; ++w) {
          const std::int64_t place = channels_last ? ((n * own[2] + h) * own[3] + w) * own[1] + c
                                                   : ((n * own[1] + c) * own[2] + h) * own[3] + w;
          const std::int64_t number =
              (((n + from[0]) * whole[1] + c + from[1]) * whole[2] + h + from[2]) * whole[3] + w +
              from[3];
          visit(place, static_cast<std::uint64_t>(number));
        }
      }
    }
  }
}

}  // namespace

Init Init::kaiming_uniform(std::int64_t fan, double gain) {
  return uniform(bound_of(kaiming_deviation(fan, gain)));
}
Init Init::kaiming_normal(std::int64_t fan, double gain) {
  return normal(0, kaiming_deviation(fan, gain));
}
Init Init::xavier_uniform(std::int64_t fan_in, std::int64_t fan_out, double gain) {
  return uniform(bound_of(xavier_deviation(fan_in, fan_out, gain)));
}
Init Init::xavier_normal(std::int64_t fan_in, std::int64_t fan_out, double gain) {
  return normal(0, xavier_deviation(fan_in, fan_out, gain));
}

Init init_of(InitScheme scheme, std::string_view name, const Shape& shape, const Init& own) {
  if (scheme == InitScheme::kTorch) return own;
  if (name == "bias") return Init::constant(0);
  if (shape.rank() < 2) return own;
  return Init::kaiming_uniform(shape.elements() / shape[0], std::sqrt(2.0));
}

void initialize(Context& context, const Tensor& tensor, const Init& init,
                const RandomStream& stream, const Shape& global, const SliceOffset& offset) {
  const Shape& whole = global.rank() == 0 ? tensor.shape() : global;
  check_slice(tensor, whole, offset);
  if (init.kind == Init::Kind::kUniform && whole == tensor.shape()) {
    return fill_uniform(context, tensor, init.a, stream);
  }
  // Once in a tensor's life: on the host, one element after another.
  const OwnedTensor values(tensor.spec);
  auto* to = values.tensor.as<float>();
  for_each_element(tensor.spec, whole, offset, [&](std::int64_t place, std::uint64_t element) {
    to[place] = value_of(init, stream, element);
  });
  copy(context.stream(), tensor, values.tensor);
  context.stream().synchronize();
}

}  // namespace stagecoach
