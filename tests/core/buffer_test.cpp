#include "core/buffer.h"

#include <gtest/gtest.h>

#include <limits>
#include <utility>

#include "core/error.h"

namespace stagecoach {
namespace {

TEST(Buffer, IsAlignedAndZero) {
  for (std::int64_t bytes : {1, 255, 4096, 5 << 20}) {
    const Buffer buffer(bytes);
    EXPECT_EQ(buffer.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % Buffer::kAlignment, 0u);
    const auto* data = static_cast<const char*>(buffer.data());
    for (std::int64_t i = 0; i < bytes; ++i) ASSERT_EQ(data[i], 0) << i;
  }
}

TEST(Buffer, MayBeEmpty) {
  const Buffer none;
  EXPECT_EQ(none.data(), nullptr);
  EXPECT_EQ(none.bytes(), 0);
  const Buffer empty(0);
  EXPECT_NE(empty.data(), nullptr);
  EXPECT_TRUE(empty.view(row_major({0, 4})).defined());
}

TEST(Buffer, Refuses) {
  EXPECT_THROW(Buffer(-1), Error);
  EXPECT_THROW(Buffer(16, Device{DeviceType::kCuda, 4095}), Error);
}

TEST(Buffer, SaysHowMuchMemoryThereIsNot) {
  const std::int64_t absurd = std::int64_t{1} << 60;
  try {
    Buffer buffer(absurd);
    FAIL() << "got 2^60 bytes";
  } catch (const Error& error) {
    EXPECT_NE(error.message().find(std::to_string(absurd)), std::string::npos) << error.what();
  }
}

TEST(Buffer, MovesItsMemory) {
  Buffer first(64);
  static_cast<char*>(first.data())[3] = 7;
  void* memory = first.data();
  Buffer second(std::move(first));
  EXPECT_EQ(second.data(), memory);
  EXPECT_EQ(first.data(), nullptr);  // NOLINT(bugprone-use-after-move): moved from means empty
  EXPECT_EQ(first.bytes(), 0);
  Buffer third(128);
  third = std::move(second);
  EXPECT_EQ(third.data(), memory);
  EXPECT_EQ(third.bytes(), 64);
  EXPECT_EQ(static_cast<char*>(third.data())[3], 7);
}

TEST(Buffer, ViewsLieWithin) {
  const Buffer buffer(64);
  const Tensor tensor = buffer.view(row_major({4}), 48);
  EXPECT_EQ(tensor.data, static_cast<char*>(buffer.data()) + 48);
  EXPECT_THROW(buffer.view(row_major({4}), 49), Error);
  EXPECT_THROW(buffer.view(row_major({4}), -1), Error);
  EXPECT_THROW(buffer.view(row_major({17})), Error);
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  EXPECT_THROW(buffer.view(row_major({4}), kMost - 3), Error);  // its end is below 0 in 64 bits
  EXPECT_THROW(buffer.view(row_major({std::int64_t{1} << 62})), Error);
}

TEST(OwnedTensor, OutlivesItsMove) {
  OwnedTensor made(row_major({3}));
  made.tensor.as<float>()[2] = 5.0f;
  const OwnedTensor moved = std::move(made);
  EXPECT_EQ(moved.tensor.as<float>()[2], 5.0f);
  EXPECT_EQ(moved.tensor.data, moved.buffer.data());
}

}  // namespace
}  // namespace stagecoach
