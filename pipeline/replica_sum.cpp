#include "pipeline/replica_sum.h"

#include <utility>

#include "core/copy.h"
#include "core/tensor.h"
#include "kernels/add.h"

namespace stagecoach {
namespace {

class SharedSum : public ReplicaSum {
 public:
  SharedSum(std::vector<ReplicaTensors> replicas, int replica, std::vector<Channel*> readers,
            std::vector<Channel*> makers)
      : replicas_(std::move(replicas)),
        replica_(replica),
        readers_(std::move(readers)),
        makers_(std::move(makers)) {}

  void begin_step() override { meetings_ = 0; }

  void reduce_scatter(Context& context, const Elements& bucket, const Waited& waited) override {
    meet(context.stream(), waited);  // everybody's gradients are there
    std::vector<Tensor> gradients;
    for (const ReplicaTensors& one : replicas_) gradients.push_back(one.gradients);
    sum_replicas(context, gradients, replica_, own_share(bucket));
  }

  // Nobody else reads the own share of any replica any more: gradients were only summed, and
  // parameters are used by F and B, which come before the last W of a step.
  void all_gather(Context& context, const Elements& bucket, Gathered what,
                  const Waited& waited) override {
    const Elements share = own_share(bucket);
    const auto share_of_replica = [&](std::size_t r) {
      const ReplicaTensors& one = replicas_[r];
      return elements_of(what == Gathered::kGradients ? one.gradients : one.parameters, share);
    };
    const auto own = static_cast<std::size_t>(replica_);
    for (std::size_t r = 0; r < replicas_.size(); ++r) {
      if (r == own || share.size() == 0) continue;
      copy(context.stream(), share_of_replica(r), share_of_replica(own));
    }
    meet(context.stream(), waited);  // everybody has handed out its share
  }

  void abort(const std::exception_ptr& error) override {
    for (const auto* channels : {&readers_, &makers_}) {
      for (Channel* channel : *channels) channel->abort(error);
    }
  }

 private:
  Elements own_share(const Elements& bucket) const {
    return share_of(bucket, static_cast<int>(replicas_.size()), replica_);
  }

  void meet(Stream& stream, const Waited& waited) {
    const int meeting = meetings_++;
    for (Channel* reader : readers_) reader->release(meeting, stream);
    for (Channel* maker : makers_) {
      maker->wait_released(meeting, stream);
      waited();
    }
  }

  const std::vector<ReplicaTensors> replicas_;
  const int replica_;
  const std::vector<Channel*> readers_, makers_;
  int meetings_ = 0;  // of this step
};

}  // namespace

void sum_replicas(Context& context, const std::vector<Tensor>& gradients, int replica,
                  const Elements& share) {
  if (share.size() == 0) return;
  std::vector<Tensor> parts;
  parts.reserve(gradients.size());
  for (const Tensor& all : gradients) parts.push_back(elements_of(all, share));
  const Tensor sum = parts[static_cast<std::size_t>(replica)];
  for (std::size_t step = 1; step < parts.size(); step *= 2) {
    for (std::size_t r = 0; r < parts.size(); r += 2 * step) {
      add(context, 2 * step == parts.size() ? sum : parts[r], parts[r], parts[r + step]);
    }
  }
}

std::unique_ptr<ReplicaSum> make_shared_sum(std::vector<ReplicaTensors> replicas, int replica,
                                            std::vector<Channel*> readers,
                                            std::vector<Channel*> makers) {
  return std::make_unique<SharedSum>(std::move(replicas), replica, std::move(readers),
                                     std::move(makers));
}

}  // namespace stagecoach
