#include "core/graph.h"

#include "core/cuda/backend.h"
#include "core/error.h"

namespace stagecoach {

std::unique_ptr<Graph> Graph::capture(std::span<Stream* const> streams,
                                      const std::function<void()>& enqueue) {
  STAGECOACH_CHECK(!streams.empty(), "Graph::capture", "at least one stream", "none");
  for (const Stream* stream : streams) {
    STAGECOACH_CHECK(can_capture(stream->device()), "Graph::capture", "streams of GPUs",
                     "a stream on " + stream->device().to_string());
  }
  return cuda::capture(streams, enqueue);
}

}  // namespace stagecoach
