#include "kernels/cuda/conv2d_packing.h"

namespace stagecoach::cuda {
namespace {

// Tensor cores load so many channels at once, as 16 bytes of BF16.
constexpr std::int64_t kGroup = 8;
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
  if (wants_blocks(problem)) return problem.stride_h;
  return problem.precision == Precision::kBf16 && problem.c % kGroup != 0 ? 1 : 0;
}

ConvProblem packed_problem(const ConvProblem& problem) {
  ConvProblem packed = problem;
  const std::int64_t block = packing_block(problem);
  if (block == 0) return packed;
  packed.c = divide_up(problem.c * block * block, kGroup) * kGroup;
  if (block == 1) return packed;
  packed.kh = divide_up(problem.kh, block);
  packed.kw = divide_up(problem.kw, block);
  packed.stride_h = packed.stride_w = 1;
  packed.padding_h = packed.padding_w = 0;
  packed.h = problem.out_h() + packed.kh - 1;
  packed.w = problem.out_w() + packed.kw - 1;
  return packed;
}

}  // namespace stagecoach::cuda
