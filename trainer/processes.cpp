#include "trainer/processes.h"

#include <algorithm>

#include "comm/collectives.h"

namespace stagecoach {
namespace {

ByteVector bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}
std::string text_of(const ByteVector& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::string Processes::of_first(const std::string& own) const {
  if (world_ == nullptr) return own;
  return text_of(broadcast(*world_, bytes_of(own), 0, kind_));
}

std::vector<std::string> Processes::of_all(const std::string& own) const {
  if (world_ == nullptr) return {own};
  std::vector<std::string> all;
  for (const ByteVector& bytes : all_gather(*world_, bytes_of(own), kind_)) {
    all.push_back(text_of(bytes));
  }
  return all;
}

std::int64_t Processes::greatest(std::int64_t own) const {
  if (world_ == nullptr) return own;
  std::int64_t greatest = own;
  for (const std::string& other : of_all(std::to_string(own))) {
    greatest = std::max<std::int64_t>(greatest, std::stoll(other));
  }
  return greatest;
}

}  // namespace stagecoach
