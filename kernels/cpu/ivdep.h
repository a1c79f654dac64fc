// STAGECOACH_IVDEP before a loop: its operands are the same memory or apart, so its iterations do
// not depend on each other. The check that the compiler would make at run time would send operands
// that are the same memory to a scalar loop. Each compiler has its own word for it.
#pragma once

#ifdef __clang__
#define STAGECOACH_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define STAGECOACH_IVDEP _Pragma("GCC ivdep")
#endif
