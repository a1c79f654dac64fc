// The sum of a stage's gradients over its replicas: the upper part of the tree whose lower parts
// are theirs (GradientTree).
#pragma once

#include <vector>

#include "core/context.h"

namespace stagecoach {

// gradients[r] [n], of replica r: elements of share `share` of as many as there are replicas become
// the sum, in all of them. Their number is a power of two. Enqueues; nobody else uses that share of
// any of them meanwhile.
void sum_replicas(Context& context, const std::vector<Tensor>& gradients, int share);

}  // namespace stagecoach
