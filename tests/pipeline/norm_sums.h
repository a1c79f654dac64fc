// Sums of squares that ranks tell each other, as a pipeline has them: in a V, where the stages of
// rank r are r and, from the end, r again.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <vector>

#include "core/buffer.h"
#include "pipeline/norm_exchange.h"

namespace stagecoach::testing {

class NormSums {
 public:
  // Stage s has s % 3 of them. `device`: what reaches their memory.
  NormSums(int ranks, Device device) : parts_(static_cast<std::size_t>(ranks)) {
    const int stages = 2 * ranks;
    std::vector<std::size_t> counts, firsts;
    std::size_t all = 0;
    for (int s = 0; s < stages; ++s) {
      firsts.push_back(all);
      counts.push_back(static_cast<std::size_t>(s % 3));
      all += counts.back();
    }
    const auto bytes = static_cast<std::int64_t>(all * sizeof(double));
    memory_ = device == Device{} ? Buffer(bytes) : Buffer::pinned(bytes, device);
    for (std::size_t s = 0; s < counts.size(); ++s) {
      const int rank =
          static_cast<int>(s) < ranks ? static_cast<int>(s) : stages - 1 - static_cast<int>(s);
      NormPart& part = parts_[static_cast<std::size_t>(rank)];
      part.process = rank;
      if (counts[s] > 0) part.sums.push_back(this->all().subspan(firsts[s], counts[s]));
    }
  }

  std::span<double> all() const {
    return {static_cast<double*>(memory_.data()),
            static_cast<std::size_t>(memory_.bytes()) / sizeof(double)};
  }
  const std::vector<NormPart>& parts() const { return parts_; }

  // What a rank has made in a step; of the others, nothing.
  void make(int step, int rank) const {
    for (double& sum : all()) sum = -1;
    for (const std::span<double> own : parts_[static_cast<std::size_t>(rank)].sums) {
      for (double& sum : own) sum = expected(step, &sum - all().data());
    }
  }
  void expect_all(int step) const {
    for (std::size_t i = 0; i < all().size(); ++i) {
      EXPECT_EQ(all()[i], expected(step, static_cast<std::int64_t>(i))) << i;
    }
  }

 private:
  static double expected(int step, std::int64_t i) {
    return 100.0 * step + static_cast<double>(i) + 0.25;
  }

  std::vector<NormPart> parts_;
  Buffer memory_;
};

}  // namespace stagecoach::testing
