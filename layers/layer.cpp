#include "layers/layer.h"

namespace stagecoach {

void Layer::backward_weight(Context&, const BackwardWeightTensors&) const {}

}  // namespace stagecoach
