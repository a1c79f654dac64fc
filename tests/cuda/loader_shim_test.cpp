// Batches that a GPU gathers and transforms, against those of the CPU.
#include "data/loader.h"

#include <gtest/gtest.h>

#include "tests/cuda/both.h"
#include "tests/kernels/checks.h"

namespace stagecoach {
namespace {

std::unique_ptr<Loader> loader_on(const Target& target, const Dataset& dataset,
                                  DType dtype = DType::kF32, bool fixed = false) {
  LoaderOptions options;
  options.fixed = fixed;
  options.transform.resize = 40;
  options.transform.crop = 32;
  options.augmentation = {true, true};
  options.seed = 3;
  options.target = target;
  options.dtype = dtype;
  const auto order = [](std::int64_t i) {
    const std::vector<std::vector<std::int64_t>> batches = {
        {0, 3, 8, 1, 5}, {2, 2, 9, 7, 4}, {6, 0}};  // the last one is not full
    return i < 3 ? batches[static_cast<std::size_t>(i)] : std::vector<std::int64_t>{};
  };
  return std::make_unique<Loader>(dataset, 5, order, options, 0, [](std::int64_t i) { return i; });
}

// Of the batch's own samples: what lies behind them is nobody's.
std::vector<float> front(const Tensor& tensor, std::int64_t count) {
  std::vector<float> values = testing::values_of(tensor);
  values.resize(static_cast<std::size_t>(tensor.elements() / tensor.shape()[0] * count));
  return values;
}

TEST(LoaderShim, MakesTheBatchesOfTheCpu) {
  const Dataset dataset = make_synthetic(1, Split::kTrain, 10);
  const auto cpu = loader_on(Target(1), dataset);
  const auto gpu = loader_on(Target(1, testing::kGpu), dataset);
  Context context(Target(1, testing::kGpu));
  for (int i = 0; i < 3; ++i) {
    const Batch* expected = cpu->next();
    const Batch* got = gpu->next();
    context.stream().wait(*got->ready);
    ASSERT_EQ(got->count, expected->count);
    const OwnedTensor images = to_host(context.stream(), got->images.tensor);
    const OwnedTensor labels = to_host(context.stream(), got->labels.tensor);
    EXPECT_EQ(front(images.tensor, got->count), front(expected->images.tensor, got->count));
    EXPECT_EQ(front(labels.tensor, got->count), front(expected->labels.tensor, got->count));
  }
  EXPECT_EQ(gpu->next(), nullptr);
}

TEST(LoaderShim, MakesAFixedBatchOnce) {
  const Dataset dataset = make_synthetic(1, Split::kTrain, 10);
  const auto cpu = loader_on(Target(1), dataset);
  const auto gpu = loader_on(Target(1, testing::kGpu), dataset, DType::kF32, true);
  Context context(Target(1, testing::kGpu));
  std::vector<float> made[2];
  for (int i = 0; i < 3; ++i) {
    const Batch* got = gpu->next();
    context.stream().wait(*got->ready);
    const auto images = front(to_host(context.stream(), got->images.tensor).tensor, got->count);
    if (i < 2) made[i] = front(cpu->next()->images.tensor, got->count);
    EXPECT_EQ(images, made[i % 2]) << i;
  }
  EXPECT_EQ(gpu->next(), nullptr);
}

TEST(LoaderShim, RoundsToBf16) {
  const Dataset dataset = make_synthetic(1, Split::kTrain, 10);
  const auto cpu = loader_on(Target(1), dataset);
  const auto gpu = loader_on(Target(1, testing::kGpu), dataset, DType::kBF16);
  Context context(Target(1, testing::kGpu));
  std::vector<float> expected = front(cpu->next()->images.tensor, 5);
  for (float& value : expected) value = static_cast<float>(BFloat16(value));
  const Batch* got = gpu->next();
  context.stream().wait(*got->ready);
  EXPECT_EQ(front(to_host(context.stream(), got->images.tensor).tensor, 5), expected);
}

TEST(LoaderShim, RefusesSamplesThatAreNotThere) {
  const Dataset dataset = make_synthetic(1, Split::kTrain, 4);
  EXPECT_THROW(loader_on(Target(1, testing::kGpu), dataset), std::exception);  // sample 8
}

}  // namespace
}  // namespace stagecoach
