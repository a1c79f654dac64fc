#include "data/loader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <future>
#include <stdexcept>
#include <thread>

#include "core/error.h"
#include "tests/data/files.h"
#include "tests/waiting_thread.h"

namespace stagecoach {
namespace {

constexpr std::int64_t kSize = 40, kCrop = 32;  // of the transform
using Indices = std::vector<std::int64_t>;

LoaderOptions options(int threads = 1) {
  LoaderOptions options;
  options.transform.resize = kSize;
  options.transform.crop = kCrop;
  options.target = threads;
  return options;
}

// Batch i holds the samples that `batches` lists.
BatchOrder listed(std::vector<Indices> batches) {
  return [batches = std::move(batches)](std::int64_t i) {
    return i < static_cast<std::int64_t>(batches.size()) ? batches[i] : Indices{};
  };
}

std::vector<float> floats(const Tensor& tensor, std::int64_t first, std::int64_t count) {
  const std::int64_t elements = tensor.elements() / tensor.shape()[0];
  const float* data = tensor.as<float>() + first * elements;
  return {data, data + count * elements};
}

// Sample `sample` by one direct call of the transform.
std::vector<float> transformed(const Dataset& dataset, std::int64_t sample, const ImageCrop& crop) {
  Context context;
  const OwnedTensor image({DType::kU8, {1, 3, 32, 32}});
  const OwnedTensor output(channels_last(1, 3, kCrop, kCrop));
  std::memcpy(image.tensor.data, dataset.image(sample), dataset.image_bytes());
  transform_images(context, output.tensor, image.tensor, {&crop, 1}, options().transform);
  context.stream().synchronize();
  return floats(output.tensor, 0, 1);
}

void expect_batch(const Batch* batch, const Dataset& dataset, const Indices& samples) {
  ASSERT_NE(batch, nullptr);
  ASSERT_EQ(batch->count, static_cast<std::int64_t>(samples.size()));
  const auto* labels = batch->labels.tensor.as<std::int32_t>();
  for (std::int64_t i = 0; i < batch->count; ++i) {
    EXPECT_EQ(labels[i], dataset.labels[samples[i]]);
    EXPECT_EQ(floats(batch->images.tensor, i, 1),
              transformed(dataset, samples[i], center_crop(options().transform)));
  }
}

// All that a loader hands out.
std::vector<float> everything(const Dataset& dataset, const LoaderOptions& chosen,
                              const BatchOrder& order, std::int64_t epoch = 0) {
  Loader loader(dataset, 4, order, chosen, 0, [epoch](std::int64_t) { return epoch; });
  std::vector<float> all;
  while (const Batch* batch = loader.next()) {
    const std::vector<float> images = floats(batch->images.tensor, 0, batch->count);
    all.insert(all.end(), images.begin(), images.end());
  }
  return all;
}

// The message of the error that next() throws.
std::string failure(Loader& loader) {
  try {
    loader.next();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

class LoaderTest : public ::testing::Test {
 protected:
  const Dataset dataset_ = make_synthetic(1, Split::kTrain, 20);
};

TEST_F(LoaderTest, HandsOutTransformedSamplesInOrder) {
  const std::vector<Indices> batches{{3, 1, 4, 15}, {0, 0, 19, 2}, {6, 5, 3, 5}};
  Loader loader(dataset_, 4, listed(batches), options());
  for (const Indices& samples : batches) expect_batch(loader.next(), dataset_, samples);
  EXPECT_EQ(loader.next(), nullptr);
  EXPECT_EQ(loader.next(), nullptr);
}

TEST_F(LoaderTest, ABatchStaysUntilTheNextCall) {
  const std::vector<Indices> batches{{3, 1, 4, 15}, {0, 0, 19, 2}, {6, 5, 3, 5}};
  std::promise<void> prepared_second;
  auto order = [&](std::int64_t i) {
    if (i == 2) prepared_second.set_value();  // number 1 is in its buffer by now
    return listed(batches)(i);
  };
  Loader loader(dataset_, 4, order, options());
  const Batch* first = loader.next();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // number 1 is being prepared
  expect_batch(first, dataset_, batches[0]);
  const Batch* second = loader.next();
  EXPECT_NE(first, second);
  prepared_second.get_future().wait();
  expect_batch(second, dataset_, batches[1]);
  EXPECT_EQ(loader.next(), first);
}

TEST_F(LoaderTest, TakenBatchesStayUntilTheyAreReleased) {
  const std::vector<Indices> batches{{3, 1, 4, 15}, {0, 0, 19, 2}, {6, 5, 3, 5}, {7}};
  Loader loader(dataset_, 4, listed(batches), options());
  const Batch* first = loader.take();
  const Batch* second = loader.take();
  EXPECT_NE(first, second);
  EXPECT_THROW(loader.take(), Error);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // nothing is being prepared
  expect_batch(first, dataset_, batches[0]);
  expect_batch(second, dataset_, batches[1]);
  loader.release();
  const Batch* third = loader.take();
  EXPECT_EQ(third, first);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  expect_batch(second, dataset_, batches[1]);
  expect_batch(third, dataset_, batches[2]);
  expect_batch(loader.next(), dataset_, batches[3]);  // releases both
  EXPECT_EQ(loader.take(), nullptr);
  loader.release();
  EXPECT_THROW(loader.release(), Error);
}

TEST_F(LoaderTest, StartsAtTheFirstBatchAskedFor) {
  const std::vector<Indices> batches{{3, 1, 4, 15}, {0, 0, 19, 2}, {6, 5, 3, 5}};
  Loader loader(dataset_, 4, listed(batches), options(), 1);
  expect_batch(loader.next(), dataset_, batches[1]);
  expect_batch(loader.next(), dataset_, batches[2]);
  EXPECT_EQ(loader.next(), nullptr);
}

TEST_F(LoaderTest, AShortBatchEndsInZeros) {
  // The third batch uses the memory of the first.
  Loader loader(dataset_, 4, listed({{3, 1, 4, 15}, {0, 0, 19, 2}, {5}}), options());
  loader.next();
  loader.next();
  const Batch* batch = loader.next();
  expect_batch(batch, dataset_, {5});
  EXPECT_EQ(floats(batch->images.tensor, 1, 3), std::vector<float>(3 * 3 * kCrop * kCrop, 0.0f));
  for (int i = 1; i < 4; ++i) EXPECT_EQ(batch->labels.tensor.as<std::int32_t>()[i], 0);
  EXPECT_EQ(loader.next(), nullptr);
}

TEST_F(LoaderTest, MakesTheImagesOfSomeRowsAndAllLabels) {
  constexpr std::int64_t kImage = 3 * kCrop * kCrop;
  const std::vector<Indices> batches{{3, 1, 4, 15}, {0, 0, 19, 2}, {6, 5, 3}};
  for (const BatchRows rows : {BatchRows{1, 2}, BatchRows{2}, BatchRows{0, 0}, BatchRows{3, 1}}) {
    LoaderOptions some = options();
    some.images = rows;
    Loader loader(dataset_, 4, listed(batches), some),
        whole(dataset_, 4, listed(batches), options());
    for (std::size_t i = 0; i < batches.size(); ++i) {
      const Batch& part = *loader.next();
      const Batch& all = *whole.next();
      EXPECT_EQ(part.count, all.count);
      for (std::int64_t row = 0; row < 4; ++row) {
        const bool made = row >= rows.first && (rows.count < 0 || row < rows.first + rows.count);
        const std::vector<float> zeros(kImage, 0.0f);
        EXPECT_EQ(floats(part.images.tensor, row, 1),
                  made ? floats(all.images.tensor, row, 1) : zeros)
            << "batch " << i << ", row " << row;
        EXPECT_EQ(part.labels.tensor.as<std::int32_t>()[row],
                  all.labels.tensor.as<std::int32_t>()[row]);
      }
    }
  }
}

TEST_F(LoaderTest, SameBytesForAnyNumberOfThreads) {
  LoaderOptions one = options(1), two = options(2);
  one.augmentation = two.augmentation = {.random_crop = true, .random_flip = true};
  const BatchOrder order = listed({{3, 1, 4, 15}, {0, 7, 19, 2}, {6, 5}});
  const std::vector<float> expected = everything(dataset_, one, order);
  EXPECT_EQ(expected.size(), 10u * 3 * kCrop * kCrop);
  EXPECT_EQ(expected, everything(dataset_, two, order));
}

// Places and flips from a Philox written separately, in Python: seed 5, epoch 2, samples 0 to 5.
TEST_F(LoaderTest, AugmentationIsAFunctionOfEpochAndSample) {
  const std::vector<ImageCrop> crops{{8, 5, false}, {1, 0, true},  {4, 3, false},
                                     {4, 4, false}, {3, 4, false}, {7, 3, false}};
  std::vector<float> both, crop_only, flip_only;
  for (std::int64_t i = 0; i < 6; ++i) {
    const ImageCrop& crop = crops[i];
    const ImageCrop centre = center_crop(options().transform);
    const auto append = [&](std::vector<float>& to, const ImageCrop& place) {
      const std::vector<float> image = transformed(dataset_, i, place);
      to.insert(to.end(), image.begin(), image.end());
    };
    append(both, crop);
    append(crop_only, {crop.top, crop.left, false});
    append(flip_only, {centre.top, centre.left, crop.flip});
  }
  LoaderOptions chosen = options();
  chosen.seed = 5;
  const auto order = listed({{0, 1, 2, 3}, {4, 5}});
  chosen.augmentation = {.random_crop = true, .random_flip = true};
  EXPECT_EQ(everything(dataset_, chosen, order, 2), both);
  EXPECT_EQ(everything(dataset_, chosen, listed({{0}, {1}, {2, 3}, {4, 5}}), 2), both);
  EXPECT_NE(everything(dataset_, chosen, order, 3), both);
  chosen.augmentation = {.random_crop = true};
  EXPECT_EQ(everything(dataset_, chosen, order, 2), crop_only);
  chosen.augmentation = {.random_flip = true};
  EXPECT_EQ(everything(dataset_, chosen, order, 2), flip_only);
}

TEST_F(LoaderTest, AFixedBatchIsMadeOnce) {
  LoaderOptions chosen = options();
  chosen.fixed = true;
  Loader loader(dataset_, 2, listed({{0, 1}, {2, 3}, {4, 5}, {5, 4}, {3}}), chosen);
  for (int i = 0; i < 5; ++i) {
    expect_batch(loader.next(), dataset_, i % 2 == 0 ? Indices{0, 1} : Indices{2, 3});
  }
  EXPECT_EQ(loader.next(), nullptr);
}

TEST_F(LoaderTest, AnErrorOfTheOrderComesOutOfNext) {
  Loader loader(
      dataset_, 4,
      [](std::int64_t i) {
        if (i == 1) throw std::runtime_error("no order for batch 1");
        return Indices{1};
      },
      options());
  EXPECT_EQ(failure(loader), "");
  EXPECT_EQ(failure(loader), "no order for batch 1");
  EXPECT_EQ(failure(loader), "no order for batch 1");
}

TEST_F(LoaderTest, NamesSamplesThatDoNotExistAndTooManyOfThem) {
  Loader beyond(dataset_, 4, listed({{1, 20}}), options());
  EXPECT_CONTAINS(failure(beyond), "expected samples of batch 0 in [0, 20), got 20");
  Loader negative(dataset_, 4, listed({{-1}}), options());
  EXPECT_CONTAINS(failure(negative), "got -1");
  Loader many(dataset_, 2, listed({{1, 2, 3}}), options());
  EXPECT_CONTAINS(failure(many), "expected at most 2 samples in batch 0, got 3");
}

TEST_F(LoaderTest, RefusesDataThatDoesNotFit) {
  EXPECT_THROW(Loader(dataset_, 0, listed({}), options()), Error);
  EXPECT_THROW(Loader(dataset_, 4, listed({}), options(), -1), Error);
  Dataset wrong = dataset_;
  wrong.pixels.pop_back();
  EXPECT_THROW(Loader(wrong, 4, listed({}), options()), Error);
  wrong = dataset_;
  wrong.height = 16;
  EXPECT_THROW(Loader(wrong, 4, listed({}), options()), Error);
}

TEST_F(LoaderTest, CountsTheBatchesItWaitedForButTheFirst) {
  const auto slow = [test = ::gettid()](std::int64_t i) {
    if (i < 2) {
      testing::wait_until_waiting(test);
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return i < 3 ? Indices{1} : Indices{};
  };
  Loader loader(dataset_, 4, slow, options());
  loader.next();
  EXPECT_EQ(loader.waits(), 0);
  EXPECT_EQ(loader.waited_seconds(), 0);
  loader.next();
  EXPECT_EQ(loader.waits(), 1);
  EXPECT_GT(loader.waited_seconds(), 0.02);
}

TEST_F(LoaderTest, ABatchThatIsReadyCostsNoWaiting) {
  std::promise<pid_t> second;
  const auto order = [&](std::int64_t i) {
    if (i == 1) second.set_value(::gettid());
    return i < 2 ? Indices{1} : Indices{};
  };
  Loader loader(dataset_, 4, order, options());
  loader.next();
  testing::wait_until_waiting(second.get_future().get());  // has nothing more to do
  loader.next();
  EXPECT_EQ(loader.waits(), 0);
}

TEST_F(LoaderTest, SaysItsBytes) {
  const Loader loader(dataset_, 4, listed({}), options());
  EXPECT_EQ(loader.bytes(), 2 * 4 * (3 * kCrop * kCrop * 4 + 4));
}

TEST_F(LoaderTest, MayBeDroppedWhileItPrepares) {
  for (int i = 0; i < 5; ++i) {
    Loader loader(dataset_, 4, listed({{1, 2, 3, 4}, {5, 6, 7, 8}}), options(2));
    if (i > 2) loader.next();
  }
}

}  // namespace
}  // namespace stagecoach
