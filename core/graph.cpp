#include "core/graph.h"

#include "core/device_backend.h"
#include "core/error.h"

namespace stagecoach {

bool Graph::can_capture(Device device) {
  return device_backend(device).can_capture();
}

std::unique_ptr<Graph> Graph::capture(std::span<Stream* const> streams,
                                      const std::function<void()>& enqueue) {
  STAGECOACH_CHECK(!streams.empty(), "Graph::capture", "at least one stream", "none");
  for (const Stream* stream : streams) {
    STAGECOACH_CHECK(can_capture(stream->device()), "Graph::capture", "streams of GPUs",
                     "a stream on " + stream->device().to_string());
  }
  return device_backend(streams[0]->device()).capture(streams, enqueue);
}

}  // namespace stagecoach
