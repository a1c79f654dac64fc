#include "pipeline/replica_exchange.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <utility>

#include "comm/message.h"
#include "core/error.h"
#include "kernels/add.h"

namespace stagecoach {
namespace {

constexpr std::int64_t kLine = 16;  // elements: halves begin at whole cache lines
constexpr std::int64_t kPiece = kExchangeWorkspace / 2 / static_cast<std::int64_t>(sizeof(float));

struct Elements {
  std::int64_t first = 0, end = 0;
  std::int64_t size() const { return end - first; }
};

// What two replicas exchange at one level of the tree, while its tasks run.
struct Exchange {
  std::vector<Transfer> sends;
  std::deque<Transfer> receives;
  std::uint32_t own_flag = 0, other_flag = 0;
};

class ExchangedSum : public ReplicaSum {
 public:
  ExchangedSum(World& world, std::vector<int> processes, int replica, int tag,
               const Tensor& gradients)
      : world_(world),
        processes_(std::move(processes)),
        replica_(replica),
        tag_(tag),
        gradients_(gradients) {}

  void enqueue(Context& context, const std::function<void()>& waited) override {
    const int count = static_cast<int>(processes_.size());
    Elements own{0, gradients_.elements()};
    std::vector<Elements> given;
    for (int step = 1; step < count; step *= 2) {
      const std::int64_t middle = own.first + own.size() / 2 / kLine * kLine;
      Elements lower{own.first, middle}, upper{middle, own.end};
      if ((replica_ & step) != 0) std::swap(lower, upper);
      own = lower;
      given.push_back(upper);
      add_from(context, processes_[replica_ ^ step], own, upper, waited);
    }
    for (int step = count / 2; step >= 1; step /= 2) {
      trade(context, processes_[replica_ ^ step], own, given.back());
      waited();
      own = {std::min(own.first, given.back().first), std::max(own.end, given.back().end)};
      given.pop_back();
    }
  }

  void abort(const std::exception_ptr& error) override { world_.abort(error); }

 private:
  Tensor part(const Elements& elements) const {
    return rows_of(gradients_, elements.first, elements.size());
  }

  void send(Exchange& exchange, int to, const Elements& elements) const {
    for (std::int64_t at = elements.first; at < elements.end; at += kPiece) {
      exchange.sends.push_back(
          world_.send(to, tag_, byte_span(part({at, std::min(at + kPiece, elements.end)}))));
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
                const std::function<void()>& waited) {
    Stream& stream = context.stream();
    auto* const memory =
        static_cast<float*>(context.workspace("the sum over replicas", kExchangeWorkspace));
    std::vector<Tensor> own, arriving;
    for (std::int64_t at = keep.first; at < keep.end; at += kPiece) {
      own.push_back(part({at, std::min(at + kPiece, keep.end)}));
      Tensor& room = arriving.emplace_back(own.back());
      room.data = memory + static_cast<std::int64_t>((arriving.size() - 1) % 2) * kPiece;
    }
    const auto exchange = std::make_shared<Exchange>();
    stream.enqueue([this, exchange, other, give, arriving, flag = context.failure_flag()] {
      if (flag != nullptr) exchange->own_flag = std::atomic_ref(*flag).load();
      exchange->sends.push_back(
          world_.send(other, tag_, std::as_bytes(std::span(&exchange->own_flag, 1))));
      exchange->receives.push_back(
          world_.receive(other, tag_, std::as_writable_bytes(std::span(&exchange->other_flag, 1))));
      for (std::size_t i = 0; i < std::min<std::size_t>(2, arriving.size()); ++i) {
        receive(*exchange, other, arriving[i]);
      }
      send(*exchange, other, give);
      wait_for_next(*exchange);
      if (flag != nullptr && exchange->other_flag != 0) std::atomic_ref(*flag).store(1);
    });
    for (std::size_t i = 0; i < own.size(); ++i) {
      stream.enqueue([exchange] { wait_for_next(*exchange); });
      waited();
      add(context, own[i], own[i], arriving[i]);
      if (i + 2 >= own.size()) continue;
      stream.enqueue(
          [this, exchange, other, next = arriving[i + 2]] { receive(*exchange, other, next); });
    }
    stream.enqueue([exchange] { wait_for_all(exchange->sends); });
  }

  // `have` goes to `other`, and `want` comes from there.
  void trade(Context& context, int other, const Elements& have, const Elements& want) {
    context.stream().enqueue([this, other, have, want] {
      Exchange exchange;
      for (std::int64_t at = want.first; at < want.end; at += kPiece) {
        receive(exchange, other, part({at, std::min(at + kPiece, want.end)}));
      }
      send(exchange, other, have);
      wait_for_all({exchange.receives.begin(), exchange.receives.end()});
      wait_for_all(exchange.sends);
    });
  }

  World& world_;
  const std::vector<int> processes_;
  const int replica_, tag_;
  const Tensor gradients_;
};

}  // namespace

std::unique_ptr<ReplicaSum> make_exchanged_sum(World& world, std::vector<int> processes,
                                               int replica, int tag, const Tensor& gradients) {
  return std::make_unique<ExchangedSum>(world, std::move(processes), replica, tag, gradients);
}

}  // namespace stagecoach
