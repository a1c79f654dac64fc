#include "core/descriptor_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string>
#include <thread>

namespace stagecoach {
namespace {

TEST(DescriptorStream, WritesSmallAndLargePiecesInOrder) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const std::string large(300'000, 'l');
  std::string received;
  std::thread reader([&] {
    char block[4096];
    for (ssize_t bytes = 0; (bytes = ::read(ends[0], block, sizeof block)) > 0;) {
      received.append(block, static_cast<std::size_t>(bytes));
    }
  });
  {
    DescriptorStream stream(ends[1]);
    stream << "a" << 12 << large;
    stream.put('z');
    stream << large.substr(0, 70'000) << std::flush;
    EXPECT_TRUE(stream.good());
    EXPECT_EQ(stream.failure(), 0);
    stream << "the end";  // not flushed: written when it is destroyed
  }
  reader.join();
  ::close(ends[0]);
  EXPECT_TRUE(received == "a12" + large + "z" + large.substr(0, 70'000) + "the end");
}

TEST(DescriptorStream, KnowsWhyAWriteFailed) {
  DescriptorStream full(::open("/dev/full", O_WRONLY));
  full << "x";
  EXPECT_TRUE(full.good());  // in its buffer
  full.flush();
  EXPECT_FALSE(full.good());
  EXPECT_EQ(full.failure(), ENOSPC);

  std::signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ::close(ends[0]);
  DescriptorStream unread(ends[1]);
  unread << "x" << std::flush;
  EXPECT_EQ(unread.failure(), EPIPE);
}

}  // namespace
}  // namespace stagecoach
