#include "comm/tensor_transfer.h"

#include <gtest/gtest.h>

#include "core/buffer.h"
#include "tests/forked/forked_world.h"

namespace stagecoach {
namespace {

// What the sender's stream has still to write is sent.
TEST(TensorTransfer, SendsWhatTheStreamLeaves) {
  const auto body = [](World& world) {
    const std::unique_ptr<Stream> stream = Stream::create();
    const OwnedTensor tensor(row_major({4}));
    const int tag = tag_of(MessageKind::kActivation, 3);
    if (world.rank() == 0) {
      stream->enqueue([&] { tensor.tensor.as<float>()[3] = 7; });
      send_tensor(world, 1, tag, tensor.tensor, *stream);
    } else {
      receive_tensor(world, 0, tag, tensor.tensor, *stream);
      EXPECT_EQ(tensor.tensor.as<float>()[3], 7);
    }
  };
  EXPECT_EQ(testing::run_forked(2, body), std::vector<int>(2));
}

}  // namespace
}  // namespace stagecoach
