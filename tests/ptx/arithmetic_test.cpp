// What PTX's manual says of instructions where C++ would not do the same by itself.
#include "tests/ptx/arithmetic.h"

#include <gtest/gtest.h>

namespace ptx {
namespace {

TEST(PtxArithmetic, RegistersHoldBits) {
  u32 wide = 7;
  set(wide, s8{-1});
  EXPECT_EQ(wide, 0xFFFFFFFFu) << "by its sign";
  set(wide, u8{255});
  EXPECT_EQ(wide, 255u);
  set(wide, 1.0f);
  EXPECT_EQ(wide, 0x3F800000u);
  EXPECT_EQ(as<u16>(wide), 0u) << "the low ones";
  EXPECT_EQ(as<f32>(wide), 1.0f);
}

TEST(PtxArithmetic, DivisionDoesNotTrap) {
  EXPECT_EQ(div(s32{5}, s32{0}), -1);
  EXPECT_EQ(rem(u64{5}, u64{0}), 5u);
  EXPECT_EQ(div(std::numeric_limits<s32>::min(), s32{-1}), std::numeric_limits<s32>::min());
  EXPECT_EQ(rem(std::numeric_limits<s64>::min(), s64{-1}), 0);
  EXPECT_EQ(div(s32{-7}, s32{2}), -3);
  EXPECT_EQ(rem(s32{-7}, s32{2}), -1);
}

TEST(PtxArithmetic, ShiftsByTheWidthAndMore) {
  EXPECT_EQ(shl(u32{1}, 31), 0x80000000u);
  EXPECT_EQ(shl(u32{1}, 32), 0u);
  EXPECT_EQ(shr(u64{1} << 63, 64), 0u);
  EXPECT_EQ(shr(s32{-8}, 1), -4);
  EXPECT_EQ(shr(s32{-8}, 99), -1);
}

TEST(PtxArithmetic, HighAndWideProducts) {
  EXPECT_EQ(mul_wide(u32{0xFFFFFFFF}, u32{0xFFFFFFFF}), 0xFFFFFFFE00000001u);
  EXPECT_EQ(mul_wide(s32{-2}, s32{3}), s64{-6});
  EXPECT_EQ(mul_hi(s64{-1}, s64{1}), -1);
  EXPECT_EQ(mul_hi(u64{1} << 63, u64{4}), 2u);
  EXPECT_EQ(mad_lo(u16{300}, u16{300}, u16{1}), static_cast<u16>(90001));
  EXPECT_EQ(mad_wide(u32{0xFFFFFFFF}, u32{2}, u64{5}), 0x200000003u);
}

TEST(PtxArithmetic, ComparisonsWithNaN) {
  const f32 nothing = std::nanf("");
  EXPECT_FALSE(ne(nothing, 1.0f));
  EXPECT_TRUE(neu(nothing, 1.0f));
  EXPECT_FALSE(gt(nothing, 1.0f));
  EXPECT_TRUE(gtu(nothing, 1.0f));
  EXPECT_TRUE(equ(1.0f, nothing));
  EXPECT_TRUE(nan(1.0f, nothing));
  EXPECT_FALSE(num(1.0f, nothing));
  EXPECT_EQ(max(nothing, 1.0f), 1.0f);
  EXPECT_EQ(min(1.0f, nothing), 1.0f);
  EXPECT_TRUE(std::signbit(min(0.0f, -0.0f)));
  EXPECT_FALSE(std::signbit(max(-0.0f, 0.0f)));
}

TEST(PtxArithmetic, Conversions) {
  EXPECT_EQ(cvt_rzi<s32>(-2.9f), -2);
  EXPECT_EQ(cvt_rzi<s32>(3e9f), std::numeric_limits<s32>::max());
  EXPECT_EQ(cvt_rzi<s32>(-3e9f), std::numeric_limits<s32>::min());
  EXPECT_EQ(cvt_rzi<u32>(4e9), 4000000000u);
  EXPECT_EQ(cvt_rzi<u32>(-1.0), 0u);
  EXPECT_EQ(cvt_rzi<s64>(std::nan("")), 0);
  EXPECT_EQ(cvt<f32>(u32{16777217}), 16777216.0f) << "to even";
  EXPECT_EQ(cvt_bf16(1.00390625f), 0x3F80) << "half a step: to even";
  EXPECT_EQ(cvt_bf16(1.01171875f), 0x3F82);
  EXPECT_EQ(cvt_bf16(std::nanf("")), 0x7FFF);
  EXPECT_EQ(cvt_bf16x2(1.0f, 2.0f), 0x3F804000u);
}

TEST(PtxArithmetic, BytesAreChosen) {
  EXPECT_EQ(prmt(0x33221100, 0x77665544, 0x7531), 0x77553311u);
  EXPECT_EQ(prmt(0x80, 0, 0x8818), 0xFFFF00FFu) << "signs";
}

TEST(PtxArithmetic, AnApproximateReciprocalHasHalfTheBits) {
  EXPECT_EQ(rcp_approx(2.0), 0.5);
  EXPECT_EQ(std::bit_cast<u64>(rcp_approx(3.0)) & 0xFFFFFFFF, 0u);
  EXPECT_NEAR(rcp_approx(3.0), 1.0 / 3.0, 1e-6);
}

}  // namespace
}  // namespace ptx
