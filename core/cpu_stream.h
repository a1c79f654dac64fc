// The CPU's Stream: a queue with a thread of its own.
#pragma once

#include <memory>

#include "core/stream.h"

namespace stagecoach {

std::unique_ptr<Stream> create_cpu_stream();

}  // namespace stagecoach
