#include "kernels/cuda/conv2d_problem.h"

#include <fmt/format.h>

namespace stagecoach::cuda {

std::string_view name_of(ConvKind kind) {
  switch (kind) {
    case ConvKind::kForward:
      return "forward";
    case ConvKind::kForwardRelu:
      return "forward_relu";
    case ConvKind::kBackwardInput:
      return "backward_input";
    case ConvKind::kBackwardWeight:
      return "backward_weight";
  }
  return "?";
}

std::string ConvProblem::key() const {
  return fmt::format("{} {} {} x={},{},{},{} w={},{},{},{} stride={},{} padding={},{}",
                     name_of(kind), name_of(precision),
                     deterministic ? "deterministic" : "any_order", n, c, h, w, o, c, kh, kw,
                     stride_h, stride_w, padding_h, padding_w);
}

}  // namespace stagecoach::cuda
