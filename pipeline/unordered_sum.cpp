#include "pipeline/unordered_sum.h"

#include <atomic>

#include "core/copy.h"
#include "kernels/finite.h"

namespace stagecoach {
namespace {

class UnorderedSum : public ReplicaSum {
 public:
  UnorderedSum(World& world, int group, const Tensor& gradients, std::uint32_t* flag)
      : world_(world), group_(group), gradients_(gradients), flag_(flag) {}

  // The flags first: who waits there waits for others to come so far.
  void reduce_scatter(Context& context, const Elements& bucket, const Waited& waited) override {
    context.stream().enqueue([this] {
      failed_ = flag_ != nullptr && std::atomic_ref(*flag_).load() != 0 ? 1.0f : 0.0f;
      add_up({&failed_, 1});
      if (flag_ != nullptr && failed_ > 0) std::atomic_ref(*flag_).store(1);
    });
    waited();
    context.stream().enqueue([this, part = elements_of(gradients_, bucket)] {
      add_up({part.as<float>(), static_cast<std::size_t>(part.elements())});
    });
  }

  void all_gather(Context&, const Elements&, Gathered, const Waited&) override {}

  void abort(const std::exception_ptr& error) override { world_.abort(error); }

 private:
  void add_up(std::span<float> values) { world_.add_up(group_, values).wait(); }

  World& world_;
  const int group_;
  const Tensor gradients_;
  std::uint32_t* const flag_;
  float failed_ = 0;
};

class LinkedUnorderedSum : public ReplicaSum {
 public:
  LinkedUnorderedSum(DeviceLinks& links, DeviceGroup& group, const Tensor& gradients,
                     const Tensor& flag, std::uint32_t* failure_flag)
      : links_(links),
        group_(group),
        gradients_(gradients),
        flag_(flag),
        failure_flag_(failure_flag) {}

  // The flags first, as above: what is not finite in one is not finite in their sum.
  void reduce_scatter(Context& context, const Elements& bucket, const Waited& waited) override {
    copy(context.stream(), flag_, failure_flag_tensor(failure_flag_));
    group_.add_up(flag_, context.stream());
    raise_unless_finite(context, flag_);
    waited();
    group_.add_up(elements_of(gradients_, bucket), context.stream());
  }

  void all_gather(Context&, const Elements&, Gathered, const Waited&) override {}

  void abort(const std::exception_ptr&) override { links_.abort(); }

 private:
  DeviceLinks& links_;
  DeviceGroup& group_;
  const Tensor gradients_, flag_;
  std::uint32_t* const failure_flag_;
};

}  // namespace

std::unique_ptr<ReplicaSum> make_unordered_sum(World& world, int group, const Tensor& gradients,
                                               std::uint32_t* flag) {
  return std::make_unique<UnorderedSum>(world, group, gradients, flag);
}

std::unique_ptr<ReplicaSum> make_linked_unordered_sum(DeviceLinks& links, DeviceGroup& group,
                                                      const Tensor& gradients, const Tensor& flag,
                                                      std::uint32_t* failure_flag) {
  return std::make_unique<LinkedUnorderedSum>(links, group, gradients, flag, failure_flag);
}

}  // namespace stagecoach
