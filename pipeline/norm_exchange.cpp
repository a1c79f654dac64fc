#include "pipeline/norm_exchange.h"

namespace stagecoach {

void NormExchange::enqueue(Stream& stream) {
  stream.enqueue([this] {
    constexpr int kTag = tag_of(MessageKind::kNorms);
    std::vector<Transfer> transfers;
    for (const Part& other : others_) {
      for (const std::span<double> sums : other.sums) {
        transfers.push_back(world_.receive(other.process, kTag, std::as_writable_bytes(sums)));
      }
      for (const std::span<double> sums : own_.sums) {
        transfers.push_back(world_.send(other.process, kTag, std::as_bytes(sums)));
      }
    }
    wait_for_all(transfers);
  });
}

}  // namespace stagecoach
