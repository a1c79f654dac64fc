// Which of the instruction sets that the CPU's kernels are compiled for are used.
//
// Every kernel is compiled for each set, by Google Highway, and gives the same bits on all of them:
// its arithmetic is written out (no contraction by the compiler), and every sum has one order.
#pragma once

#include <string>
#include <vector>

namespace stagecoach::cpu {

// Those that this processor has, best first: "avx512", "avx2" or "neon".
std::vector<std::string> instruction_sets();

// The one in use: STAGECOACH_SIMD in the environment when the program started, else the best.
// Throws Error when there is none, or STAGECOACH_SIMD names another: says which there are.
std::string instruction_set();

// For tests: another one from now on, "" for the best. Throws Error unless this processor has it.
// No kernel may be running.
void use_instruction_set(const std::string& name);

}  // namespace stagecoach::cpu
