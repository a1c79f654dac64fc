// Loader: prepares the next batch while the current one trains. On the CPU its thread makes network
// input of the images; on a GPU, where all images of the data set then lie, a kernel does.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/context.h"
#include "core/worker.h"
#include "data/batch.h"
#include "data/dataset.h"
#include "kernels/image_transform.h"
#include "kernels/resident_images.h"

namespace stagecoach {

struct Augmentation {
  bool random_crop = false;  // a crop anywhere in the resized image instead of its centre
  bool random_flip = false;  // mirrored with probability 1/2
};

// Rows of a batch.
struct BatchRows {
  std::int64_t first = 0, count = -1;  // -1: all behind the first
  bool operator==(const BatchRows&) const = default;
};

struct LoaderOptions {
  ImageTransform transform;
  Augmentation augmentation;
  std::uint64_t seed = 0;  // of the augmentation: RandomStream{seed, kAugmentation, epoch, sample}
  Target target;           // where batches are prepared and lie
  DType dtype = DType::kF32;  // of the network's input; BF16 on a GPU only
  // On the CPU, whose images are made; others are zeros. Labels are those of all rows.
  BatchRows images;
  // The first two batches in turn, made once, as many as the order has: what reading them costs
  // without making them.
  bool fixed = false;
};

// A prepared batch: images [B, 3, crop, crop] channels_last, labels [B] I32, on the loader's
// device.
struct Batch {
  explicit Batch(const TensorSpec& images_spec, Device device = {});
  OwnedTensor images;
  OwnedTensor labels;
  // On a GPU: reached when they are there. Streams that read them wait for it.
  std::optional<Event> ready;
  std::int64_t count = 0;  // samples filled, from the front; the rest is no part of the batch

  operator BatchView() const { return {images.tensor, labels.tensor, ready, count}; }
};

// Which samples of the data set batch number `i` holds; empty ends the sequence.
using BatchOrder = std::function<std::vector<std::int64_t>(std::int64_t i)>;

class Loader {
 public:
  // `dataset` must outlive the loader. `batch`: samples of a full batch (an order may give fewer).
  // Starts preparing batch number `first` at once. `epoch_of`: epoch of batch i for augmentation.
  Loader(
      const Dataset& dataset, std::int64_t batch, BatchOrder order, LoaderOptions options,
      std::int64_t first = 0,
      std::function<std::int64_t(std::int64_t)> epoch_of = [](std::int64_t) {
        return std::int64_t{0};
      });
  ~Loader();

  // The next batch, valid until the next call; null at the end. Starts preparing the one after.
  // Blocks until the batch is ready, but on a GPU. Throws what the preparation threw.
  const Batch* next();
  // The same, but batches stay valid until release(); at most two of them.
  const Batch* take();
  // Releases the batch taken first: everything that reads it has ended. On a GPU, blocks until the
  // batch is ready; `wanted`: when who read it could have begun, if that is later than its take().
  void release(Clock::time_point wanted = {});

  // Batches that were not ready when asked for (on a GPU: when wanted; known when released), and
  // the seconds until they were. The first one, which nobody could have prepared before, is not
  // counted.
  double waited_seconds() const { return waited_seconds_; }
  std::int64_t waits() const { return waits_; }
  // Bytes of the two batch buffers, and on a GPU of the data set.
  std::int64_t bytes() const;

 private:
  void prepare_next();
  void prepare(std::int64_t number);
  void count_wait(std::int64_t number, Clock::time_point wanted, Clock::time_point ready);
  std::vector<std::int64_t> samples_of(std::int64_t number) const;
  bool is_made(std::int64_t number, const std::vector<std::int64_t>& samples, Batch& batch) const;
  void fill(std::int64_t number, Batch& batch);
  void fill_on_gpu(std::int64_t number, Batch& batch);
  ImageCrop crop_of(std::int64_t epoch, std::int64_t sample) const;

  const Dataset& dataset_;
  BatchOrder order_;
  LoaderOptions options_;
  std::function<std::int64_t(std::int64_t)> epoch_of_;
  std::vector<std::unique_ptr<Batch>> batches_;  // two, used in turn
  // Numbers of batches: the first of all, the first not released, not taken, not prepared.
  const std::int64_t first_;
  std::int64_t released_, taken_, prepared_;
  double waited_seconds_ = 0;
  std::int64_t waits_ = 0;
  std::vector<Event> ready_;                 // of batches_
  std::vector<Clock::time_point> taken_at_;  // of batches_
  Context context_;
  std::optional<OwnedTensor> raw_;  // on the CPU: bytes of the images of one batch
  // On a GPU: the data set; and for each of batches_ its samples, on the host and there.
  std::unique_ptr<ResidentImages> resident_;
  std::vector<Buffer> chosen_;
  std::vector<OwnedTensor> samples_;
};

}  // namespace stagecoach
