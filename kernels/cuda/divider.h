// Division by a number that the host knows, as a multiplication and a shift.
#pragma once

#include <bit>
#include <cstdint>

namespace stagecoach::cuda {

// constexpr, so that kernels call it too.
class Divider {
 public:
  // `divisor` in [1, 2^31).
  constexpr explicit Divider(std::uint32_t divisor)
      : divisor_(divisor), shift_(31 + std::bit_width(divisor - 1)) {
    factor_ = static_cast<std::uint32_t>(((std::uint64_t{1} << shift_) + divisor - 1) / divisor);
  }

  struct Result {
    std::uint32_t quotient, remainder;
  };
  // Of a number below 2^31.
  constexpr Result operator()(std::uint32_t number) const {
    // The factor is 2^shift / divisor and less than 1 more. As 2^shift >= 2^31 * divisor, that
    // moves the product by less than the 1 / divisor to the next whole number.
    const auto quotient = static_cast<std::uint32_t>(std::uint64_t{number} * factor_ >> shift_);
    return {quotient, number - quotient * divisor_};
  }

 private:
  std::uint32_t divisor_;
  int shift_;
  std::uint32_t factor_ = 0;
};

}  // namespace stagecoach::cuda
