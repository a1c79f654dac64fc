// ProcessLinks: by what a rank in a process of its own reaches the other ranks and replicas: on a
// CPU, the World's messages; on a device, its transport's (DeviceLinks).
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "comm/channel.h"
#include "comm/device_link.h"
#include "comm/world.h"
#include "core/context.h"
#include "pipeline/norm_exchange.h"
#include "pipeline/replica_sum.h"

namespace stagecoach {

class ProcessLinks {
 public:
  // `target`: of the rank; `failure_flag`: of its context (see Context). Both `world` and the flag
  // outlive this. Throws Error where there is no transport for the device.
  ProcessLinks(World& world, const Target& target, std::uint32_t* failure_flag);
  // Waits for what is enqueued.
  ~ProcessLinks();

  // One end of the channel into stage `stage` (kActivation), or out of it (kGradient), whose other
  // end is in `process`. A failure flag that is up where a gradient leaves is up where it arrives.
  // All processes make their channels in the order of the stages, of a stage's that of activations
  // first, before any sum.
  Channel& sending(int process, MessageKind kind, int stage);
  Channel& receiving(int process, MessageKind kind, int stage);
  // See make_exchanged_sum() for the arguments.
  ReplicaSum& sum(const std::vector<int>& processes, int replica, int stage,
                  const ReplicaTensors& own, const Tensor& memory);
  // By the transport itself, in an order of its own; see make_unordered_sum().
  ReplicaSum& unordered_sum(const std::vector<int>& processes, const Tensor& gradients);
  // See make_exchanged_norms() for `parts` and `rank`; `sums`: of the network, which these lie in.
  // Once at most; all processes make theirs behind their sums over replicas.
  NormExchange& norms(std::span<double> sums, const std::vector<NormPart>& parts, int rank);

  // Between two steps: of all channels.
  void reset();
  void check_complete() const;

  // The rest is of a device: the streams on which messages travel, how the host waits for what
  // depends on others, and the end of all of it after an error.
  std::vector<Stream*> streams();
  void wait(const Event& event);
  void abort() noexcept;

 private:
  Channel& on_device(int process, MessageKind kind, DeviceLinks::Use use);

  World& world_;
  const Target target_;
  std::uint32_t* const failure_flag_;
  std::unique_ptr<DeviceLinks> links_;  // null on a CPU
  // Of a device: the channels' contexts, the flags that travel, and by level of the tree of
  // replicas the link to the other one.
  std::deque<Context> contexts_;
  std::deque<OwnedTensor> flags_;
  std::vector<DeviceLink*> replicas_;
  // Of the replicas: in the World, and on a device.
  std::optional<int> group_;
  DeviceGroup* device_group_ = nullptr;
  std::vector<std::unique_ptr<Channel>> channels_;
  std::vector<std::unique_ptr<ReplicaSum>> sums_;
  std::optional<OwnedTensor> norm_memory_;  // of a device
  std::unique_ptr<NormExchange> norms_;
};

}  // namespace stagecoach
