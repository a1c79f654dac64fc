// The MPI plug-in that understands a launcher.
#pragma once

#include "comm/launched_process.h"
#include "comm/mpi/mpi_api.h"
#include "core/dynamic_library.h"

namespace stagecoach {

class MpiPlugin {
 public:
  // Opens the first one of `process.mpis` that is there: beside the program, in the folder that
  // plug-ins are installed to, or where the loader looks. Throws Error where none is, or one is not
  // of this program's version.
  explicit MpiPlugin(const LaunchedProcess& process);

  const MpiApi& api() const { return api_; }

 private:
  const DynamicLibrary library_;
  const MpiApi& api_;
};

}  // namespace stagecoach
