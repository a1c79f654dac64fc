#include "kernels/cuda/conv2d_packing.h"

#include "kernels/conv2d.h"

namespace stagecoach::cuda {
namespace {

constexpr std::int64_t kGroup = kConv2dChannelGroup;
constexpr std::int64_t kMostBlockChannels = 64;

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
  Conv2dOptions given = problem.options();
  given.input_block = block;
  const auto [weight, options] =
      over_blocks(channels_last(problem.o, problem.c, problem.kh, problem.kw), given);
  packed.c = weight.shape[1];
  packed.kh = weight.shape[2];
  packed.kw = weight.shape[3];
  packed.stride_h = options.stride_h;
  packed.stride_w = options.stride_w;
  packed.padding_h = options.padding_h;
  packed.padding_w = options.padding_w;
  if (block > 1) {
    packed.h = problem.out_h() + packed.kh - 1;
    packed.w = problem.out_w() + packed.kw - 1;
  }
  return packed;
}

}  // namespace stagecoach::cuda
