#include "pipeline/unordered_sum.h"

#include <atomic>

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

}  // namespace

std::unique_ptr<ReplicaSum> make_unordered_sum(World& world, int group, const Tensor& gradients,
                                               std::uint32_t* flag) {
  return std::make_unique<UnorderedSum>(world, group, gradients, flag);
}

}  // namespace stagecoach
