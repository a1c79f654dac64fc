// What a core can do at most.
#pragma once

namespace stagecoach::cpu {

// Floating-point operations a second of one core in independent fused multiply-adds, with the
// instruction set in use: the best of a few measurements of about 10 ms, made once. What else runs
// on the core counts against it.
double peak_flops();

}  // namespace stagecoach::cpu
