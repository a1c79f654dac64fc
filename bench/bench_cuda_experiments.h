// The questions that a run on a GPU is to answer: what the program does, beside what it could do.
#pragma once

namespace stagecoach {

// Adds benchmarks QUESTION/CASE/WAY/PRECISION/batch:128. bench/gpu/tables.py compares the ways.
void add_experiments();

}  // namespace stagecoach
