#include "core/graph.h"

#include <gtest/gtest.h>

#include "core/context.h"
#include "core/error.h"

namespace stagecoach {
namespace {

std::string error_of(std::span<Stream* const> streams) {
  try {
    Graph::capture(streams, [] {});
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

TEST(Graph, NeedsStreamsOfGpus) {
  Context cpu;
  Stream* streams[] = {&cpu.stream()};
  EXPECT_FALSE(Graph::can_capture(cpu.device()));
  EXPECT_EQ(error_of(streams), "Graph::capture: expected streams of GPUs, got a stream on cpu");
  EXPECT_EQ(error_of({}), "Graph::capture: expected at least one stream, got none");
}

}  // namespace
}  // namespace stagecoach
