// The sum of a stage's gradients over its replicas: the upper part of the tree whose lower parts
// are theirs (GradientTree).
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include "comm/channel.h"
#include "core/context.h"

namespace stagecoach {

// gradients[r] [n], of replica r: elements of share `share` of as many as there are replicas become
// the sum, in all of them. Their number is a power of two. Enqueues; nobody else uses that share of
// any of them meanwhile.
void sum_replicas(Context& context, const std::vector<Tensor>& gradients, int share);

// What one replica of a stage does for the sum.
class ReplicaSum {
 public:
  virtual ~ReplicaSum() = default;
  // Enqueues, on the stage's context; behind it the stage's gradients are the sum. May block until
  // other replicas have enqueued theirs. `waited` is called behind every wait for them.
  virtual void enqueue(Context& context, const std::function<void()>& waited) = 0;
  // Other replicas that wait for this one fail with the error.
  virtual void abort(const std::exception_ptr& error) = 0;
};

// Of replicas in one process: each sums a share of the elements, for all of them. The channels have
// no messages: `readers` tell the other replicas, and `makers` are told by them, that gradients are
// there (message 0) and that a share is summed (1). They outlive the sum.
std::unique_ptr<ReplicaSum> make_shared_sum(std::vector<Tensor> gradients, int replica,
                                            std::vector<Channel*> readers,
                                            std::vector<Channel*> makers);

}  // namespace stagecoach
