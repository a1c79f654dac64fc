#include "kernels/cuda/conv2d_packing.h"

namespace stagecoach::cuda {
namespace {

constexpr std::int64_t kGroup = 8;  // channels that tensor cores load at once, as 16 bytes of bf16
constexpr std::int64_t kMostBlockChannels = 64;

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

// cuDNN's plans decide: with TF32 and 3 channels blocks save 77 MB of workspace for 128 images, and
// strict fp32 does not use tensor cores, so it needs nothing.
bool wants_blocks(const ConvProblem& problem) {
  const std::int64_t group = problem.precision == Precision::kBf16 ? kGroup : kGroup / 2;
  return problem.precision != Precision::kFp32 && problem.c % group != 0 && problem.stride_h > 1 &&
         problem.stride_h == problem.stride_w && problem.padding_h == problem.padding_w &&
         problem.c * problem.stride_h * problem.stride_w <= kMostBlockChannels;
}

}  // namespace

std::int64_t packing_block(const ConvProblem& problem) {
  return wants_blocks(problem) ? problem.stride_h : 1;
}

ConvProblem packed_problem(const ConvProblem& problem) {
  ConvProblem packed = problem;
  if (wants_blocks(problem)) {
    const std::int64_t block = problem.stride_h;
    packed.c = divide_up(problem.c * block * block, kGroup) * kGroup;
    packed.kh = divide_up(problem.kh, block);
    packed.kw = divide_up(problem.kw, block);
    packed.h = problem.out_h() + packed.kh - 1;
    packed.w = problem.out_w() + packed.kw - 1;
    packed.stride_h = packed.stride_w = 1;
    packed.padding_h = packed.padding_w = 0;
  } else if (problem.precision == Precision::kBf16) {
    packed.c = divide_up(problem.c, kGroup) * kGroup;
  }
  return packed;
}

}  // namespace stagecoach::cuda
