#include "core/copy.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/graph.h"

namespace stagecoach {
namespace {

TEST(Copy, IsTheNextWorkOfTheStream) {
  const auto stream = Stream::create();
  const OwnedTensor from(row_major({3})), to(row_major({3}));
  stream->enqueue([&] { from.tensor.as<float>()[2] = 7.0f; });
  copy(*stream, to.tensor, from.tensor);
  const OwnedTensor host = to_host(*stream, to.tensor);
  EXPECT_EQ(host.tensor.as<float>()[2], 7.0f);
  EXPECT_EQ(host.tensor.spec, to.tensor.spec);
}

TEST(Copy, RefusesWhatItCannotCopy) {
  const auto stream = Stream::create();
  const OwnedTensor three(row_major({3})), four(row_major({4}));
  EXPECT_THROW(copy(*stream, three.tensor, four.tensor), Error);
  EXPECT_THROW(copy(*stream, three.tensor, {}), Error);
  Tensor elsewhere = three.tensor;
  elsewhere.device = {DeviceType::kCuda, 0};
  EXPECT_THROW(copy(*stream, elsewhere, three.tensor), Error);
}

TEST(Graph, IsNotForTheCpu) {
  const auto stream = Stream::create();
  Stream* streams[] = {stream.get()};
  EXPECT_FALSE(Graph::can_capture(stream->device()));
  EXPECT_THROW(Graph::capture(streams, [] {}), Error);
}

}  // namespace
}  // namespace stagecoach
