#include "data/sha256.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "core/error.h"

namespace stagecoach {
namespace {

// FIPS 180-4's examples.
TEST(Sha256, IsTheStandard) {
  EXPECT_EQ(sha256_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 sum;
  sum.add("a", 1);
  sum.add("bc", 2);
  EXPECT_EQ(sum.finish(), sha256_of("abc"));
}

TEST(Sha256, OfFiles) {
  const std::filesystem::path file =
      std::filesystem::path(::testing::TempDir()) / ("sha256_" + std::to_string(::getpid()));
  const std::string text(3'000'000, 'x');
  std::ofstream(file) << text;
  EXPECT_EQ(sha256_of_file(file), sha256_of(text));
  std::filesystem::remove(file);
  EXPECT_THROW(sha256_of_file(file), Error);
}

}  // namespace
}  // namespace stagecoach
