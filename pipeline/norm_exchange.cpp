#include "pipeline/norm_exchange.h"

#include <utility>

#include "core/copy.h"

namespace stagecoach {
namespace {

class ExchangedNorms : public NormExchange {
 public:
  ExchangedNorms(World& world, std::vector<NormPart> parts, int rank)
      : world_(world), parts_(std::move(parts)), rank_(static_cast<std::size_t>(rank)) {}

  void enqueue(Stream& stream) override {
    stream.enqueue([this] {
      constexpr int kTag = tag_of(MessageKind::kNorms);
      std::vector<Transfer> transfers;
      for (std::size_t other = 0; other < parts_.size(); ++other) {
        if (other == rank_) continue;
        const int process = parts_[other].process;
        for (const std::span<double> sums : parts_[other].sums) {
          transfers.push_back(world_.receive(process, kTag, std::as_writable_bytes(sums)));
        }
        for (const std::span<double> sums : parts_[rank_].sums) {
          transfers.push_back(world_.send(process, kTag, std::as_bytes(sums)));
        }
      }
      wait_for_all(transfers);
    });
  }

 private:
  World& world_;
  const std::vector<NormPart> parts_;
  const std::size_t rank_;
};

TensorSpec bytes_of(std::span<const double> sums) {
  return row_major({static_cast<std::int64_t>(sums.size_bytes())}, DType::kU8);
}

class LinkedNorms : public NormExchange {
 public:
  LinkedNorms(DeviceLink* before, DeviceLink* after, std::span<double> sums,
              const std::vector<NormPart>& parts, int rank, const Tensor& memory)
      : before_(before),
        after_(after),
        on_host_{sums.data(), bytes_of(sums), Device{}},
        on_device_(memory) {
    for (int r = 0; r < std::ssize(parts); ++r) {
      for (const std::span<double> part : parts[static_cast<std::size_t>(r)].sums) {
        const Tensor place = rows_of(memory, (part.data() - sums.data()) * kBytes,
                                     static_cast<std::int64_t>(part.size()) * kBytes);
        if (r < rank) of_ranks_before_.push_back(place);
        if (r <= rank) up_to_this_.push_back(place);
        if (r >= rank) from_this_.push_back(place);
        if (r > rank) of_ranks_after_.push_back(place);
      }
    }
  }

  void enqueue(Stream& stream) override {
    copy(stream, on_device_, on_host_);
    if (after_ != nullptr) after_->exchange({}, of_ranks_after_, stream);
    if (before_ != nullptr) before_->exchange(from_this_, of_ranks_before_, stream);
    if (after_ != nullptr) after_->exchange(up_to_this_, {}, stream);
    copy(stream, on_host_, on_device_);
  }

 private:
  static constexpr std::int64_t kBytes = sizeof(double);

  DeviceLink *const before_, *const after_;
  const Tensor on_host_, on_device_;
  std::vector<Tensor> of_ranks_before_, up_to_this_, from_this_, of_ranks_after_;
};

}  // namespace

std::unique_ptr<NormExchange> make_exchanged_norms(World& world, std::vector<NormPart> parts,
                                                   int rank) {
  return std::make_unique<ExchangedNorms>(world, std::move(parts), rank);
}

std::unique_ptr<NormExchange> make_linked_norms(DeviceLink* before, DeviceLink* after,
                                                std::span<double> sums,
                                                const std::vector<NormPart>& parts, int rank,
                                                const Tensor& memory) {
  return std::make_unique<LinkedNorms>(before, after, sums, parts, rank, memory);
}

}  // namespace stagecoach
