// The transforms of one tile, for a vector of channels; compiled for each instruction set.
//
// In one dimension they are products with small matrices: for an input tile d, a kernel g and an
// output tile y, B^T d, G g and A^T m, and for the gradients A dy and G^T s. In two dimensions they
// go along the columns and then along the rows.
#if defined(STAGECOACH_WINOGRAD_TRANSFORMS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef STAGECOACH_WINOGRAD_TRANSFORMS_INL_H
#undef STAGECOACH_WINOGRAD_TRANSFORMS_INL_H
#else
#define STAGECOACH_WINOGRAD_TRANSFORMS_INL_H
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/winograd_points.h"

HWY_BEFORE_NAMESPACE();
namespace stagecoach::cpu::HWY_NAMESPACE {
namespace winograd_transforms {

namespace hn = hwy::HWY_NAMESPACE;
using cpu::winograd::kA;
using cpu::winograd::kB;
using cpu::winograd::kSide;
using cpu::winograd::Powers;

// factor * x and factor * x + y, rounded once; nothing to do for a factor of 1.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V scaled(D d, float factor, V x) {
  return factor == 1.0f ? x : hn::Mul(hn::Set(d, factor), x);
}
template <class D, class V = hn::Vec<D>>
HWY_INLINE V scaled_add(D d, float factor, V x, V y) {
  return factor == 1.0f ? hn::Add(x, y) : hn::MulAdd(hn::Set(d, factor), x, y);
}

// B^T: 6 inputs at the points. Row p has the coefficients of the product of (x - q) over the other
// finite points q: even and odd powers apart, those of p and -p share both sums.
struct InputTransform {
  static constexpr int kIn = kSide;
  static constexpr int kOut = kSide;

  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE void run(D d, const V* HWY_RESTRICT in, V* HWY_RESTRICT out) {
    constexpr auto a = static_cast<float>(kA), b = static_cast<float>(kB);
    const V a2 = hn::Set(d, a * a), b2 = hn::Set(d, b * b);
    const V sum = hn::Set(d, a * a + b * b), product = hn::Set(d, a * a * b * b);
    out[0] = hn::MulAdd(product, in[0], hn::NegMulAdd(sum, in[2], in[4]));
    const V even_a = hn::NegMulAdd(b2, in[2], in[4]), odd_a = hn::NegMulAdd(b2, in[1], in[3]);
    out[1] = hn::MulAdd(hn::Set(d, a), odd_a, even_a);
    out[2] = hn::NegMulAdd(hn::Set(d, a), odd_a, even_a);
    const V even_b = hn::NegMulAdd(a2, in[2], in[4]), odd_b = hn::NegMulAdd(a2, in[1], in[3]);
    out[3] = hn::MulAdd(hn::Set(d, b), odd_b, even_b);
    out[4] = hn::NegMulAdd(hn::Set(d, b), odd_b, even_b);
    out[5] = hn::MulAdd(product, in[1], hn::NegMulAdd(sum, in[3], in[5]));
  }
};

// kCount coefficients at the points: A, or G if kDivided.
template <int kCount, bool kDivided>
struct Evaluate {
  static constexpr int kIn = kCount;
  static constexpr int kOut = kSide;
  static constexpr Powers<kCount, kDivided> kPowers{};

  // The even powers or the odd ones, in ascending order.
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V half(D d, const float* factors, const V* in, int first) {
    V total = scaled(d, factors[first], in[first]);
    for (int k = first + 2; k < kCount; k += 2) total = scaled_add(d, factors[k], in[k], total);
    return total;
  }
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE void run(D d, const V* HWY_RESTRICT in, V* HWY_RESTRICT out) {
    out[0] = scaled(d, kPowers.zero, in[0]);
    const V even_a = half(d, kPowers.a.data(), in, 0), odd_a = half(d, kPowers.a.data(), in, 1);
    out[1] = hn::Add(even_a, odd_a);
    out[2] = hn::Sub(even_a, odd_a);
    const V even_b = half(d, kPowers.b.data(), in, 0), odd_b = half(d, kPowers.b.data(), in, 1);
    out[3] = hn::Add(even_b, odd_b);
    out[4] = hn::Sub(even_b, odd_b);
    out[5] = in[kCount - 1];
  }
};

// The transpose of Evaluate: A^T, or G^T if kDivided.
template <int kCount, bool kDivided>
struct Interpolate {
  static constexpr int kIn = kSide;
  static constexpr int kOut = kCount;
  static constexpr Powers<kCount, kDivided> kPowers{};

  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE void run(D d, const V* HWY_RESTRICT in, V* HWY_RESTRICT out) {
    const V even_a = hn::Add(in[1], in[2]), odd_a = hn::Sub(in[1], in[2]);
    const V even_b = hn::Add(in[3], in[4]), odd_b = hn::Sub(in[3], in[4]);
    for (int k = 0; k < kCount; ++k) {
      const auto i = static_cast<std::size_t>(k);
      const V of_a = scaled(d, kPowers.a[i], k % 2 == 0 ? even_a : odd_a);
      out[k] = scaled_add(d, kPowers.b[i], k % 2 == 0 ? even_b : odd_b, of_a);
    }
    out[0] = scaled_add(d, kPowers.zero, in[0], out[0]);
    out[kCount - 1] = hn::Add(out[kCount - 1], in[5]);
  }
};

// store(row, column, T X T^t) where X is load(row, column).
template <class Transform, class D, class Load, class Store>
HWY_INLINE void transform_tile(D d, const Load& load, const Store& store) {
  using V = hn::Vec<D>;
  constexpr int kIn = Transform::kIn, kOut = Transform::kOut;
  V columns[kOut][kIn];
  for (int x = 0; x < kIn; ++x) {
    V in[kIn], out[kOut];
    for (int y = 0; y < kIn; ++y) in[y] = load(y, x);
    Transform::run(d, in, out);
    for (int y = 0; y < kOut; ++y) columns[y][x] = out[y];
  }
  for (int y = 0; y < kOut; ++y) {
    V out[kOut];
    Transform::run(d, columns[y], out);
    for (int x = 0; x < kOut; ++x) store(y, x, out[x]);
  }
}

// body(d, first) for runs of channels that cover [begin, end): whole vectors, then fours, then
// ones. A channel has the same bits in each.
template <class Body>
HWY_INLINE void for_each_vector(std::int64_t begin, std::int64_t end, const Body& body) {
  const hn::ScalableTag<float> whole;
  const hn::CappedTag<float, 4> four;
  const hn::CappedTag<float, 1> one;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(whole));
  std::int64_t i = begin;
  for (; i + lanes <= end; i += lanes) body(whole, i);
  for (; i + 4 <= end; i += 4) body(four, i);
  for (; i < end; ++i) body(one, i);
}

}  // namespace winograd_transforms
}  // namespace stagecoach::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
