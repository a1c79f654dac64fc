#include "kernels/cpu/conv2d.h"

#include "kernels/cpu/conv2d_im2col.h"

namespace stagecoach::cpu {

const Conv2dAlgorithm& choose_conv2d(const Conv2dShape&) {
  return im2col_conv2d();
}

}  // namespace stagecoach::cpu
