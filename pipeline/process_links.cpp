#include "pipeline/process_links.h"

#include "comm/device_channel.h"
#include "comm/process_channel.h"
#include "core/copy.h"
#include "kernels/finite.h"
#include "pipeline/replica_exchange.h"
#include "pipeline/unordered_sum.h"

namespace stagecoach {

ProcessLinks::ProcessLinks(World& world, const Target& target, std::uint32_t* failure_flag)
    : world_(world), target_(target), failure_flag_(failure_flag) {
  if (target.device != Device{}) links_ = make_device_links(world, target.device);
}

ProcessLinks::~ProcessLinks() {
  reset();
}

Channel& ProcessLinks::sending(int process, MessageKind kind, int stage) {
  if (links_ != nullptr) return on_device(process, kind, DeviceLinks::Use::kSend);
  return *channels_.emplace_back(
      make_sending_channel(world_, process, tag_of(kind, stage), failure_flag_));
}

Channel& ProcessLinks::receiving(int process, MessageKind kind, int stage) {
  if (links_ != nullptr) return on_device(process, kind, DeviceLinks::Use::kReceive);
  return *channels_.emplace_back(
      make_receiving_channel(world_, process, tag_of(kind, stage), failure_flag_));
}

// The flag is a loss's place holder: a number that is not finite where it is up.
Channel& ProcessLinks::on_device(int process, MessageKind kind, DeviceLinks::Use use) {
  DeviceLink& link = links_->connect(process, use);
  Context& context = contexts_.emplace_back(target_, links_->create_stream());
  context.set_failure_flag(failure_flag_);
  MessageTrailer trailer;
  if (kind == MessageKind::kGradient) {
    trailer.word = flags_.emplace_back(row_major({1}), target_.device).tensor;
    const Tensor word = trailer.word;
    trailer.write = [this, &context, word] {
      copy(context.stream(), word, failure_flag_tensor(failure_flag_));
    };
    trailer.read = [&context, word] { raise_unless_finite(context, word); };
  }
  const auto make =
      use == DeviceLinks::Use::kSend ? make_device_sending_channel : make_device_receiving_channel;
  return *channels_.emplace_back(make(*links_, link, context.stream(), std::move(trailer)));
}

ReplicaSum& ProcessLinks::sum(const std::vector<int>& processes, int replica, int stage,
                              const ReplicaTensors& own, const Tensor& memory) {
  if (links_ == nullptr) {
    return *sums_.emplace_back(make_exchanged_sum(world_, processes, replica,
                                                  tag_of(MessageKind::kReplicas, stage), own,
                                                  memory, failure_flag_));
  }
  const auto count = static_cast<int>(processes.size());
  for (int step = 1 << replicas_.size(); step < count; step *= 2) {  // once for all stages
    replicas_.push_back(&links_->connect(processes[replica ^ step], DeviceLinks::Use::kBoth));
  }
  const Tensor flags = flags_.emplace_back(row_major({2}), target_.device).tensor;
  return *sums_.emplace_back(
      make_linked_sum(*links_, replicas_, replica, own, memory, flags, failure_flag_));
}

ReplicaSum& ProcessLinks::unordered_sum(const std::vector<int>& processes,
                                        const Tensor& gradients) {
  if (links_ == nullptr) {
    if (!group_) group_ = world_.make_group(processes);
    return *sums_.emplace_back(make_unordered_sum(world_, *group_, gradients, failure_flag_));
  }
  if (device_group_ == nullptr) device_group_ = &links_->make_group(processes);
  const Tensor flag = flags_.emplace_back(row_major({1}), target_.device).tensor;
  return *sums_.emplace_back(
      make_linked_unordered_sum(*links_, *device_group_, gradients, flag, failure_flag_));
}

NormExchange& ProcessLinks::norms(std::span<double> sums, const std::vector<NormPart>& parts,
                                  int rank) {
  if (links_ == nullptr) return *(norms_ = make_exchanged_norms(world_, parts, rank));
  const auto link_to = [&](int other) -> DeviceLink* {
    if (other < 0 || other >= std::ssize(parts)) return nullptr;
    return &links_->connect(parts[static_cast<std::size_t>(other)].process,
                            DeviceLinks::Use::kBoth);
  };
  DeviceLink* const before = link_to(rank - 1);
  DeviceLink* const after = link_to(rank + 1);
  const auto bytes = static_cast<std::int64_t>(sums.size_bytes());
  const Tensor memory = norm_memory_.emplace(row_major({bytes}, DType::kU8), target_.device).tensor;
  return *(norms_ = make_linked_norms(before, after, sums, parts, rank, memory));
}

void ProcessLinks::reset() {
  for (const auto& channel : channels_) channel->reset();
}

void ProcessLinks::check_complete() const {
  for (const auto& channel : channels_) channel->check_complete();
}

std::vector<Stream*> ProcessLinks::streams() {
  std::vector<Stream*> all;
  for (Context& context : contexts_) all.push_back(&context.stream());
  return all;
}

void ProcessLinks::wait(const Event& event) {
  links_->wait(event);
}

void ProcessLinks::abort() noexcept {
  if (links_ != nullptr) links_->abort();
}

}  // namespace stagecoach
