#include "pipeline/gradient_clip.h"

namespace stagecoach {

GradientClip::GradientClip(const std::vector<Context*>& contexts, std::int64_t parameters,
                           double max_norm)
    : parameters_(parameters),
      max_norm_(max_norm),
      memory_(shared_host_memory(
          contexts, (parameters + kNormsKept) * static_cast<std::int64_t>(sizeof(double)))) {}

void GradientClip::measure(Stage& stage) const {
  stage.sum_squares_of_gradients(sums());
}

void GradientClip::clip(Stage& stage, bool notes) const {
  stage.clip_gradients({sums(), static_cast<std::size_t>(parameters_)}, max_norm_,
                       notes && stage.is_last() ? norms() : nullptr);
}

double GradientClip::norm(std::int64_t step) const {
  return norms()[step % kNormsKept];
}

}  // namespace stagecoach
