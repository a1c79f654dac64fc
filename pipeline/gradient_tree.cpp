#include "pipeline/gradient_tree.h"

#include <bit>

#include "core/error.h"
#include "kernels/add.h"

namespace stagecoach {

GradientTree::GradientTree(int groups, int micro_batches) : groups_(groups) {
  STAGECOACH_CHECK(groups >= 1 && std::has_single_bit(static_cast<unsigned>(groups)) &&
                       micro_batches % groups == 0,
                   "gradient groups",
                   fmt::format("a power of two that divides the {} micro-batches", micro_batches),
                   fmt::format("{}", groups));
  of_group_ = micro_batches / groups;
  levels_ = std::countr_zero(static_cast<unsigned>(groups));
}

// As a binary counter counts: each 1 at the end of the group's number is a level whose sum waits.
void GradientTree::end_group(Context& context, int group, const std::vector<Tensor>& waiting,
                             const Tensor& result) const {
  if (result.elements() == 0) return;
  const int full = std::countr_one(static_cast<unsigned>(group));
  for (int level = 0; level < full; ++level) {
    const bool waits = level + 1 == full && full < levels_;
    add(context, waits ? waiting[static_cast<std::size_t>(full)] : result,
        waiting[static_cast<std::size_t>(level)], result);
  }
}

}  // namespace stagecoach
