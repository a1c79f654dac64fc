#include "pipeline/replica_sum.h"

#include <utility>

#include "core/copy.h"
#include "core/tensor.h"
#include "kernels/add.h"

namespace stagecoach {
namespace {

// Whole cache lines, so that no two replicas write to one.
constexpr std::int64_t kLine = 16;

class SharedSum : public ReplicaSum {
 public:
  SharedSum(std::vector<Tensor> gradients, int replica, std::vector<Channel*> readers,
            std::vector<Channel*> makers)
      : gradients_(std::move(gradients)),
        replica_(replica),
        readers_(std::move(readers)),
        makers_(std::move(makers)) {}

  void enqueue(Context& context, const std::function<void()>& waited) override {
    constexpr int kThere = 0, kSummed = 1;
    meet(kThere, context.stream(), waited);
    sum_replicas(context, gradients_, replica_);
    meet(kSummed, context.stream(), waited);
  }

  void abort(const std::exception_ptr& error) override {
    for (const auto* channels : {&readers_, &makers_}) {
      for (Channel* channel : *channels) channel->abort(error);
    }
  }

 private:
  void meet(int message, Stream& stream, const std::function<void()>& waited) {
    for (Channel* reader : readers_) reader->release(message, stream);
    for (Channel* maker : makers_) {
      maker->wait_released(message, stream);
      waited();
    }
  }

  const std::vector<Tensor> gradients_;  // of all replicas
  const int replica_;
  const std::vector<Channel*> readers_, makers_;
};

}  // namespace

void sum_replicas(Context& context, const std::vector<Tensor>& gradients, int share) {
  const auto count = static_cast<std::int64_t>(gradients.size());
  const std::int64_t lines = gradients[0].elements() / kLine;
  const std::int64_t first = share * lines / count * kLine;
  const std::int64_t end =
      share + 1 == count ? gradients[0].elements() : (share + 1) * lines / count * kLine;
  if (first == end) return;
  std::vector<Tensor> parts;
  parts.reserve(gradients.size());
  for (const Tensor& all : gradients) parts.push_back(rows_of(all, first, end - first));
  for (std::size_t step = 1; step < parts.size(); step *= 2) {
    for (std::size_t r = 0; r < parts.size(); r += 2 * step) {
      add(context, parts[r], parts[r], parts[r + step]);
    }
  }
  for (std::size_t r = 1; r < parts.size(); ++r) copy(context.stream(), parts[r], parts[0]);
}

std::unique_ptr<ReplicaSum> make_shared_sum(std::vector<Tensor> gradients, int replica,
                                            std::vector<Channel*> readers,
                                            std::vector<Channel*> makers) {
  return std::make_unique<SharedSum>(std::move(gradients), replica, std::move(readers),
                                     std::move(makers));
}

}  // namespace stagecoach
