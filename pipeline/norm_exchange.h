// NormExchange: how the ranks of a replica, in processes of their own, tell each other the sums of
// squares of their gradients (GradientClip).
#pragma once

#include <span>
#include <vector>

#include "comm/world.h"
#include "core/stream.h"

namespace stagecoach {

class NormExchange {
 public:
  // Which sums a process makes.
  struct Part {
    int process = 0;
    std::vector<std::span<double>> sums;
  };
  // `own`: of this process; `others`: of all others. The sums' memory and `world` outlive this.
  NormExchange(World& world, Part own, std::vector<Part> others)
      : world_(world), own_(std::move(own)), others_(std::move(others)) {}

  // Behind it, all sums are there. Enqueues.
  void enqueue(Stream& stream);

 private:
  World& world_;
  const Part own_;
  const std::vector<Part> others_;
};

}  // namespace stagecoach
