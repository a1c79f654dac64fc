#include "kernels/uniform.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace stagecoach {

void fill_uniform(Context& context, Tensor output, float bound, const RandomStream& stream) {
  constexpr const char* kName = "fill_uniform";
  check_floating(kName, "output", context, output.spec);
  STAGECOACH_CHECK(stream.layer < 65536, kName, "layer below 65536",
                   fmt::format("layer {}", stream.layer));
  check_tensor(context, kName, "output", output, output.spec);
  backend_of(context).fill_uniform(context, output, bound, stream);
}

}  // namespace stagecoach
