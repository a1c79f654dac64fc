// The sum of a stage's gradients over its replicas: the upper part of the tree whose lower parts
// are theirs (GradientTree).
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include "comm/channel.h"
#include "core/context.h"
#include "pipeline/gradient_buckets.h"

namespace stagecoach {

// What of a replica the others see: flat tensors of all its parameters.
struct ReplicaTensors {
  Tensor gradients, parameters;  // F32 [n]
};

// What one replica of a stage does for the sum. Every replica makes the same calls, in the same
// order, on whichever context: what a call enqueues follows what the one before it has enqueued.
// They may block until other replicas have made theirs. `waited` is called behind what waits for
// them to come so far; that bytes travel is part of the sum.
class ReplicaSum {
 public:
  using Waited = std::function<void()>;

  virtual ~ReplicaSum() = default;
  // Before the first call of a step.
  virtual void begin_step() {}
  // Behind it, the replica's share of a bucket of gradients (share_of) is the sum.
  virtual void reduce_scatter(Context& context, const Elements& bucket, const Waited& waited) = 0;
  // Behind it, a bucket has all replicas' shares.
  enum class Gathered : std::uint8_t { kGradients, kParameters };
  virtual void all_gather(Context& context, const Elements& bucket, Gathered what,
                          const Waited& waited) = 0;
  // Other replicas that wait for this one fail with the error.
  virtual void abort(const std::exception_ptr& error) = 0;
};

// gradients[r] [n], of replica r, a power of two of them: elements `share` become the sum in those
// of `replica`. Enqueues; nobody else uses that share of any of them meanwhile.
void sum_replicas(Context& context, const std::vector<Tensor>& gradients, int replica,
                  const Elements& share);

// Of replicas in one process: each sums its share of the elements, and hands it to all. The
// channels have no messages: `readers` tell the other replicas, and `makers` are told by them, how
// far a replica is. They outlive the sum.
std::unique_ptr<ReplicaSum> make_shared_sum(std::vector<ReplicaTensors> replicas, int replica,
                                            std::vector<Channel*> readers,
                                            std::vector<Channel*> makers);

}  // namespace stagecoach
