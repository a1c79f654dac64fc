#include "pipeline/replica_exchange.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <utility>

#include "comm/message.h"
#include "core/copy.h"
#include "core/error.h"
#include "kernels/add.h"
#include "kernels/finite.h"

namespace stagecoach {
namespace {

constexpr std::int64_t kPiece = kExchangeBytes / 2 / static_cast<std::int64_t>(sizeof(float));

// What a replica has of a bucket when `parts` of them share it.
Elements share_at(const Elements& bucket, int parts, int replica) {
  return share_of(bucket, parts, replica & (parts - 1));
}

std::vector<Tensor> pieces_of(const Tensor& flat) {
  std::vector<Tensor> pieces;
  for (std::int64_t at = 0; at < flat.elements(); at += kPiece) {
    pieces.push_back(elements_of(flat, {at, std::min(at + kPiece, flat.elements())}));
  }
  return pieces;
}

// Where as many pieces of the same sizes arrive: in the halves of `memory` in turn.
std::vector<Tensor> arriving_in(const Tensor& memory, std::vector<Tensor> pieces) {
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    pieces[i].data = static_cast<float*>(memory.data) + static_cast<std::int64_t>(i % 2) * kPiece;
  }
  return pieces;
}

// What two replicas exchange at one level of the tree, while its tasks run.
struct Exchange {
  std::vector<Transfer> sends;
  std::deque<Transfer> receives;
  std::uint32_t own_flag = 0, other_flag = 0;
};

class ExchangedSum : public ReplicaSum {
 public:
  ExchangedSum(World& world, std::vector<int> processes, int replica, int tag,
               const ReplicaTensors& own, const Tensor& memory, std::uint32_t* flag)
      : world_(world),
        processes_(std::move(processes)),
        replica_(replica),
        tag_(tag),
        own_(own),
        memory_(memory),
        flag_(flag) {}

  void reduce_scatter(Context& context, const Elements& bucket, const Waited& waited) override {
    for (int step = 1; step < count(); step *= 2) {
      add_from(context, other_at(step), share_at(bucket, 2 * step, replica_),
               share_at(bucket, 2 * step, replica_ ^ step), waited);
    }
  }

  void all_gather(Context& context, const Elements& bucket, Gathered what, const Waited&) override {
    const Tensor& flat = what == Gathered::kGradients ? own_.gradients : own_.parameters;
    for (int step = count() / 2; step >= 1; step /= 2) {
      trade(context, other_at(step), elements_of(flat, share_at(bucket, 2 * step, replica_)),
            elements_of(flat, share_at(bucket, 2 * step, replica_ ^ step)));
    }
  }

  void abort(const std::exception_ptr& error) override { world_.abort(error); }

 private:
  int count() const { return static_cast<int>(processes_.size()); }
  int other_at(int step) const { return processes_[replica_ ^ step]; }

  void send(Exchange& exchange, int to, const Tensor& flat) const {
    for (const Tensor& piece : pieces_of(flat)) {
      exchange.sends.push_back(world_.send(to, tag_, byte_span(piece)));
    }
  }
  void receive(Exchange& exchange, int from, const Tensor& to) const {
    exchange.receives.push_back(world_.receive(from, tag_, byte_span(to)));
  }
  static void wait_for_next(Exchange& exchange) {
    const Transfer next = exchange.receives.front();
    exchange.receives.pop_front();
    next.wait();
  }

  // The flag and `give` go to `other`; what it has of `keep` arrives in pieces, of which one is
  // added while the next one comes.
  void add_from(Context& context, int other, const Elements& keep, const Elements& give,
                const Waited& waited) {
    Stream& stream = context.stream();
    const std::vector<Tensor> own = pieces_of(elements_of(own_.gradients, keep));
    const std::vector<Tensor> arriving = arriving_in(memory_, own);
    const auto exchange = std::make_shared<Exchange>();
    stream.enqueue([this, exchange, other, given = elements_of(own_.gradients, give), arriving] {
      if (flag_ != nullptr) exchange->own_flag = std::atomic_ref(*flag_).load();
      exchange->sends.push_back(
          world_.send(other, tag_, std::as_bytes(std::span(&exchange->own_flag, 1))));
      exchange->receives.push_back(
          world_.receive(other, tag_, std::as_writable_bytes(std::span(&exchange->other_flag, 1))));
      for (std::size_t i = 0; i < std::min<std::size_t>(2, arriving.size()); ++i) {
        receive(*exchange, other, arriving[i]);
      }
      send(*exchange, other, given);
    });
    stream.enqueue([this, exchange] {
      wait_for_next(*exchange);
      if (flag_ != nullptr && exchange->other_flag != 0) std::atomic_ref(*flag_).store(1);
    });
    waited();
    for (std::size_t i = 0; i < own.size(); ++i) {
      stream.enqueue([exchange] { wait_for_next(*exchange); });
      add(context, own[i], own[i], arriving[i]);
      if (i + 2 >= own.size()) continue;
      stream.enqueue(
          [this, exchange, other, next = arriving[i + 2]] { receive(*exchange, other, next); });
    }
    stream.enqueue([exchange] { wait_for_all(exchange->sends); });
  }

  // `have` goes to `other`, and `want` comes from there.
  void trade(Context& context, int other, const Tensor& have, const Tensor& want) {
    context.stream().enqueue([this, other, have, want] {
      Exchange exchange;
      for (const Tensor& piece : pieces_of(want)) receive(exchange, other, piece);
      send(exchange, other, have);
      wait_for_all({exchange.receives.begin(), exchange.receives.end()});
      wait_for_all(exchange.sends);
    });
  }

  World& world_;
  const std::vector<int> processes_;
  const int replica_, tag_;
  const ReplicaTensors own_;
  const Tensor memory_;
  std::uint32_t* const flag_;
};

class LinkedSum : public ReplicaSum {
 public:
  LinkedSum(DeviceLinks& links, std::vector<DeviceLink*> levels, int replica,
            const ReplicaTensors& own, const Tensor& memory, const Tensor& flags,
            std::uint32_t* failure_flag)
      : links_(links),
        levels_(std::move(levels)),
        replica_(replica),
        own_(own),
        memory_(memory),
        own_flag_(elements_of(flags, {0, 1})),
        other_flag_(elements_of(flags, {1, 2})),
        failure_flag_(failure_flag) {}

  void reduce_scatter(Context& context, const Elements& bucket, const Waited& waited) override {
    for (std::size_t level = 0; level < levels_.size(); ++level) {
      const int step = 1 << level;
      add_from(context, *levels_[level], share_at(bucket, 2 * step, replica_),
               share_at(bucket, 2 * step, replica_ ^ step), waited);
    }
  }

  void all_gather(Context& context, const Elements& bucket, Gathered what, const Waited&) override {
    const Tensor& flat = what == Gathered::kGradients ? own_.gradients : own_.parameters;
    for (std::size_t level = levels_.size(); level-- > 0;) {
      const int step = 1 << level;
      const auto share = [&](int replica) {
        return some(elements_of(flat, share_at(bucket, 2 * step, replica)));
      };
      levels_[level]->exchange(share(replica_), share(replica_ ^ step), context.stream());
    }
  }

  void abort(const std::exception_ptr&) override { links_.abort(); }

 private:
  static std::vector<Tensor> some(const Tensor& tensor) {
    if (tensor.elements() == 0) return {};
    return {tensor};
  }

  // The flag and `give` go to the other one; what it has of `keep` arrives in pieces.
  void add_from(Context& context, DeviceLink& link, const Elements& keep, const Elements& give,
                const Waited& waited) {
    Stream& stream = context.stream();
    const std::vector<Tensor> own = pieces_of(elements_of(own_.gradients, keep));
    const std::vector<Tensor> given = pieces_of(elements_of(own_.gradients, give));
    const std::vector<Tensor> arriving = arriving_in(memory_, own);
    copy(stream, own_flag_, failure_flag_tensor(failure_flag_));
    link.exchange({&own_flag_, 1}, {&other_flag_, 1}, stream);
    raise_unless_finite(context, other_flag_);
    waited();
    for (std::size_t i = 0; i < std::max(own.size(), given.size()); ++i) {
      const std::span<const Tensor> sent(given), received(arriving);
      link.exchange(sent.subspan(std::min(i, given.size()), i < given.size() ? 1 : 0),
                    received.subspan(std::min(i, own.size()), i < own.size() ? 1 : 0), stream);
      if (i < own.size()) add(context, own[i], own[i], arriving[i]);
    }
  }

  DeviceLinks& links_;
  const std::vector<DeviceLink*> levels_;
  const int replica_;
  const ReplicaTensors own_;
  const Tensor memory_, own_flag_, other_flag_;
  std::uint32_t* const failure_flag_;
};

}  // namespace

std::unique_ptr<ReplicaSum> make_linked_sum(DeviceLinks& links, std::vector<DeviceLink*> levels,
                                            int replica, const ReplicaTensors& own,
                                            const Tensor& memory, const Tensor& flags,
                                            std::uint32_t* failure_flag) {
  return std::make_unique<LinkedSum>(links, std::move(levels), replica, own, memory, flags,
                                     failure_flag);
}

std::unique_ptr<ReplicaSum> make_exchanged_sum(World& world, std::vector<int> processes,
                                               int replica, int tag, const ReplicaTensors& own,
                                               const Tensor& memory, std::uint32_t* flag) {
  return std::make_unique<ExchangedSum>(world, std::move(processes), replica, tag, own, memory,
                                        flag);
}

}  // namespace stagecoach
