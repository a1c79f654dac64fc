// GradientClip: what the stages of a training tell each other to clip their gradients by the norm
// of all of them. A stage leaves the sums of squares of its parameters here when its last W has
// run; when every stage has, each computes the same norm from them and scales its own gradients.
#pragma once

#include <span>
#include <vector>

#include "core/buffer.h"
#include "kernels/gradient_norm.h"
#include "pipeline/stage.h"

namespace stagecoach {

class GradientClip {
 public:
  // `contexts`: of all stages, which have `parameters` together; `max_norm` above 0.
  GradientClip(const std::vector<Context*>& contexts, std::int64_t parameters, double max_norm);

  // Enqueues: its sums, after its gradients.
  void measure(Stage& stage) const;
  // Enqueues: scales its gradients, after measure() of all stages has run. `notes`: whether the
  // last stage leaves the norm() here: of its replicas that share this, one.
  void clip(Stage& stage, bool notes = true) const;
  // Of the gradients of a training step, from 0, before they were clipped. After that step; kept
  // while kNormsKept - 1 others run.
  double norm(std::int64_t step) const;
  // By parameter of the network: what measure() of its stage left.
  std::span<double> all_sums() const { return {sums(), static_cast<std::size_t>(parameters_)}; }

 private:
  double* sums() const { return static_cast<double*>(memory_.data()); }
  double* norms() const { return sums() + parameters_; }

  std::int64_t parameters_;
  double max_norm_;
  Buffer memory_;  // of the host: sums by parameter of the network, norms
};

}  // namespace stagecoach
