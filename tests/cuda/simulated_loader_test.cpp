// A loader whose batches take long, on a GPU that is slow enough.
#include <gtest/gtest.h>

#include "data/loader.h"

namespace stagecoach {
namespace {

// A batch that takes long to make, and the one after: asked for at once, and when it is there.
TEST(SimulatedLoader, CountsTheBatchesThatWereNotReadyWhenWanted) {
  const Dataset dataset = make_synthetic(1, Split::kTrain, 10);
  LoaderOptions options;
  options.transform.resize = 256;
  options.transform.crop = 224;
  options.target = Target(1, Device{DeviceType::kCuda, 0});
  const auto order = [](std::int64_t) { return std::vector<std::int64_t>(64, 3); };
  Loader loader(dataset, 64, order, options);
  loader.next();
  const Event second = *loader.next()->ready;
  EXPECT_FALSE(second.reached()) << "next() has waited for it";
  loader.next();
  EXPECT_TRUE(second.reached());
  EXPECT_EQ(loader.waits(), 1) << "the first is not counted";
  const double before = loader.waited_seconds();
  EXPECT_GT(before, 0);
  loader.release(Clock::now() + std::chrono::minutes(1));
  EXPECT_EQ(loader.waits(), 1) << "it was there when wanted";
  EXPECT_EQ(loader.waited_seconds(), before);
}

}  // namespace
}  // namespace stagecoach
