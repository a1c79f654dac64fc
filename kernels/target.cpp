#include "kernels/target.h"

#include "kernels/backend.h"

namespace stagecoach {

void check_target(const Target& target) {
  backend_of(target).check_target(target);
}

void open_libraries(Context& context) {
  backend_of(context).open_libraries(context);
}

}  // namespace stagecoach
