#include "data/loader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/copy.h"
#include "core/error.h"
#include "core/philox.h"

namespace stagecoach {
namespace {

void check_dataset(const Dataset& dataset) {
  STAGECOACH_CHECK(
      dataset.channels == 3 && dataset.height == dataset.width, "Loader",
      "square images of 3 channels",
      fmt::format("{} channels of {}x{}", dataset.channels, dataset.height, dataset.width));
  const auto bytes = static_cast<std::int64_t>(dataset.pixels.size());
  STAGECOACH_CHECK(bytes == dataset.size() * dataset.image_bytes(), "Loader",
                   fmt::format("{} bytes of pixels for {} labels",
                               dataset.size() * dataset.image_bytes(), dataset.size()),
                   fmt::format("{} bytes", bytes));
}

// In [0, bound]; bounds are tiny, so the bias of multiply-shift is too.
std::int64_t up_to(std::int64_t bound, std::uint32_t word) {
  return static_cast<std::int64_t>(
      static_cast<std::uint64_t>(word) * static_cast<std::uint64_t>(bound + 1) >> 32);
}

}  // namespace

Batch::Batch(const TensorSpec& images_spec, Device device)
    : images(images_spec, device), labels({DType::kI32, {images_spec.shape[0]}}, device) {}

Loader::Loader(const Dataset& dataset, std::int64_t batch, BatchOrder order, LoaderOptions options,
               std::int64_t first, std::function<std::int64_t(std::int64_t)> epoch_of)
    : dataset_(dataset),
      order_(std::move(order)),
      options_(options),
      epoch_of_(std::move(epoch_of)),
      first_(first),
      released_(first),
      taken_(first),
      prepared_(first),
      ready_(2),
      taken_at_(2),
      context_(options_.target) {
  check_dataset(dataset);
  STAGECOACH_CHECK(batch > 0, "Loader", "a batch of at least one sample", fmt::format("{}", batch));
  STAGECOACH_CHECK(first >= 0, "Loader", "a first batch >= 0", fmt::format("{}", first));
  const std::int64_t crop = options_.transform.crop;
  const TensorSpec images = channels_last(batch, 3, crop, crop, options_.dtype);
  for (int i = 0; i < 2; ++i) {
    batches_.push_back(std::make_unique<Batch>(images, context_.device()));
  }
  if (context_.device().type != DeviceType::kCpu) {
    resident_ = std::make_unique<ResidentImages>(context_, dataset.size(), dataset.height,
                                                 dataset.pixels.data(), dataset.labels.data(),
                                                 options_.transform);
    const TensorSpec samples = row_major({batch, 4}, DType::kI32);
    for (int i = 0; i < 2; ++i) {
      chosen_.push_back(Buffer::pinned(samples.bytes(), context_.device()));
      samples_.emplace_back(samples, context_.device());
    }
  } else {
    raw_.emplace(row_major({batch, dataset.channels, dataset.height, dataset.width}, DType::kU8));
  }
  prepare_next();
}

Loader::~Loader() {
  context_.stream().reset();  // waits; what is being prepared uses the members
}

const Batch* Loader::next() {
  while (released_ < taken_) release();
  return take();
}

const Batch* Loader::take() {
  STAGECOACH_CHECK(taken_ < prepared_, "Loader::take", "less than two batches taken",
                   "two that are not released");
  const Batch& batch = *batches_[taken_ % 2];
  const Event& ready = ready_[taken_ % 2];
  taken_at_[taken_ % 2] = Clock::now();
  if (!batch.ready) {
    const bool reached = ready.reached();
    ready.synchronize();
    if (!reached) count_wait(taken_, {}, Clock::now());
  }
  if (batch.count == 0) return nullptr;
  ++taken_;
  prepare_next();
  return &batch;
}

void Loader::release(Clock::time_point wanted) {
  STAGECOACH_CHECK(released_ < taken_, "Loader::release", "a batch that was taken", "none");
  if (const auto& ready = batches_[released_ % 2]->ready) {
    ready->synchronize();
    count_wait(released_, wanted, ready->time());
  }
  ++released_;
  prepare_next();
}

void Loader::count_wait(std::int64_t number, Clock::time_point wanted, Clock::time_point ready) {
  wanted = std::max(wanted, taken_at_[number % 2]);
  if (number == first_ || ready <= wanted) return;
  ++waits_;
  waited_seconds_ += std::chrono::duration<double>(ready - wanted).count();
}

std::int64_t Loader::bytes() const {
  std::int64_t bytes = resident_ ? resident_->bytes() : 0;
  for (const auto& batch : batches_) {
    bytes += batch->images.buffer.bytes() + batch->labels.buffer.bytes();
  }
  return bytes;
}

// Starts preparing the batch that take() is to hand out, once a buffer is free for it.
void Loader::prepare_next() {
  if (prepared_ > taken_ || prepared_ - released_ == 2) return;
  prepare(prepared_);
  ++prepared_;
}

void Loader::prepare(std::int64_t number) {
  Event ready;
  ready_[number % 2] = ready;
  Batch& batch = *batches_[number % 2];
  Stream& stream = context_.stream();
  if (resident_) {
    fill_on_gpu(number, batch);
    stream.record(ready, EventUse::kTime);
    batch.ready = ready;
    return;
  }
  stream.enqueue([this, number, ready, &batch, &stream]() mutable {
    // The transform is enqueued behind this task, so only then can its end be marked.
    try {
      fill(number, batch);
    } catch (...) {
      stream.record(ready);
      throw;
    }
    stream.record(ready);
  });
}

// The samples of a batch, checked.
std::vector<std::int64_t> Loader::samples_of(std::int64_t number) const {
  std::vector<std::int64_t> samples = order_(number);
  const std::int64_t capacity = batches_[0]->labels.tensor.elements();
  STAGECOACH_CHECK(std::ssize(samples) <= capacity, "Loader",
                   fmt::format("at most {} samples in batch {}", capacity, number),
                   fmt::format("{}", samples.size()));
  for (const std::int64_t sample : samples) {
    STAGECOACH_CHECK(sample >= 0 && sample < dataset_.size(), "Loader",
                     fmt::format("samples of batch {} in [0, {})", number, dataset_.size()),
                     fmt::format("{}", sample));
  }
  return samples;
}

// Whether the batch's buffer is handed out as it is.
bool Loader::is_made(std::int64_t number, const std::vector<std::int64_t>& samples,
                     Batch& batch) const {
  if (!options_.fixed || number < first_ + 2) return false;
  if (samples.empty()) batch.count = 0;
  return true;
}

// Runs on the stream's thread and leaves the transform to its next task.
void Loader::fill(std::int64_t number, Batch& batch) {
  const std::vector<std::int64_t> samples = samples_of(number);
  if (is_made(number, samples, batch)) return;
  const std::int64_t count = std::ssize(samples);
  std::memset(batch.labels.tensor.data, 0, batch.labels.tensor.bytes());
  batch.count = count;
  if (count == 0) return;

  const std::int64_t epoch = epoch_of_(number);
  auto* raw = raw_->tensor.as<std::uint8_t>();
  auto* labels = batch.labels.tensor.as<std::int32_t>();
  for (std::int64_t i = 0; i < count; ++i) labels[i] = dataset_.labels[samples[i]];
  const std::int64_t all = batch.labels.tensor.elements();
  const BatchRows& rows = options_.images;
  const std::int64_t first = std::min(rows.first, all);
  const std::int64_t end = rows.count < 0 ? all : std::min(first + rows.count, all);
  const std::int64_t filled = std::clamp(count, first, end);
  std::vector<ImageCrop> crops;
  for (std::int64_t i = first; i < filled; ++i) {
    std::memcpy(raw + i * dataset_.image_bytes(), dataset_.image(samples[i]),
                dataset_.image_bytes());
    crops.push_back(crop_of(epoch, samples[i]));
  }
  if (end > filled) {
    const Tensor empty = rows_of(batch.images.tensor, filled, end - filled);
    std::memset(empty.data, 0, static_cast<std::size_t>(empty.bytes()));
  }
  if (filled == first) return;
  transform_images(context_, rows_of(batch.images.tensor, first, filled - first),
                   rows_of(raw_->tensor, first, filled - first), crops, options_.transform);
}

// Rows behind the batch's samples repeat the last one: what is computed of them is not counted.
void Loader::fill_on_gpu(std::int64_t number, Batch& batch) {
  const std::vector<std::int64_t> samples = samples_of(number);
  if (is_made(number, samples, batch)) return;
  batch.count = std::ssize(samples);
  if (samples.empty()) return;
  const std::int64_t epoch = epoch_of_(number);
  const Tensor& table = samples_[number % 2].tensor;
  const Tensor chosen = chosen_[number % 2].view(table.spec);
  auto* row = chosen.as<std::int32_t>();
  for (std::int64_t i = 0; i < table.shape()[0]; ++i, row += 4) {
    const std::int64_t sample = samples[static_cast<std::size_t>(std::min(i, batch.count - 1))];
    const ImageCrop crop = crop_of(epoch, sample);
    row[0] = static_cast<std::int32_t>(sample);
    row[1] = static_cast<std::int32_t>(crop.top);
    row[2] = static_cast<std::int32_t>(crop.left);
    row[3] = crop.flip ? 1 : 0;
  }
  copy(context_.stream(), table, chosen);
  transform_samples(context_, batch.images.tensor, batch.labels.tensor, *resident_, table);
}

ImageCrop Loader::crop_of(std::int64_t epoch, std::int64_t sample) const {
  const ImageTransform& transform = options_.transform;
  const PhiloxBlock words = RandomStream{.seed = options_.seed,
                                         .use = RandomUse::kAugmentation,
                                         .step = static_cast<std::uint32_t>(epoch),
                                         .sample = static_cast<std::uint32_t>(sample)}
                                .block(0);
  ImageCrop crop = center_crop(transform);
  if (options_.augmentation.random_crop) {
    crop.top = up_to(transform.resize - transform.crop, words[0]);
    crop.left = up_to(transform.resize - transform.crop, words[1]);
  }
  if (options_.augmentation.random_flip) crop.flip = words[2] >> 31 == 1;
  return crop;
}

}  // namespace stagecoach
