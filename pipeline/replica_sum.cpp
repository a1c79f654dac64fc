#include "pipeline/replica_sum.h"

#include "core/copy.h"
#include "core/tensor.h"
#include "kernels/add.h"

namespace stagecoach {
namespace {

// Whole cache lines, so that no two replicas write to one.
constexpr std::int64_t kLine = 16;

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

}  // namespace stagecoach
