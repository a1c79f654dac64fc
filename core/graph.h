// Graph: work that was enqueued once, and is launched again as a whole.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "core/stream.h"

namespace stagecoach {

class Graph {
 public:
  virtual ~Graph() = default;

  // Enqueues all of the graph's work on `stream`. Events that were recorded with EventUse::kTime
  // while it was captured then have the times of this launch.
  virtual void launch(Stream& stream) = 0;

  // Whether a graph can be captured on the streams of this device.
  static bool can_capture(Device device);

  // Captures, without running it, what `enqueue` enqueues on `streams`. Work of one stream begins
  // after whatever `launch` is enqueued behind, and `launch` ends when all streams' work has. One
  // thread enqueues all of it. Addresses and other arguments stay as they are: what changes from
  // launch to launch must lie in memory. Throws Error, and what `enqueue` throws.
  static std::unique_ptr<Graph> capture(std::span<Stream* const> streams,
                                        const std::function<void()>& enqueue);
};

}  // namespace stagecoach
