#include "core/thread.h"

#include <system_error>
#include <utility>

#include "core/error.h"

namespace stagecoach {

std::thread start_thread(std::function<void()> body) {
  try {
    return std::thread(std::move(body));
  } catch (const std::system_error& error) {
    throw Error("threads", "to start another thread", error.code().message(),
                "use fewer: --threads, --stages; or raise what limits them: ulimit -u, or pids.max "
                "of the control group");
  }
}

}  // namespace stagecoach
