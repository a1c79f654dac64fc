#include "core/arena.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/error.h"

namespace stagecoach {
namespace {

constexpr std::int64_t kMostBytes = std::int64_t{1} << 62;  // so that no sum of two overflows

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + Buffer::kAlignment - 1) / Buffer::kAlignment * Buffer::kAlignment;
}

bool overlap_in_time(const Lifetime& a, const Lifetime& b) {
  return a.first <= b.last && b.first <= a.last;
}

}  // namespace

std::vector<std::int64_t> place_by_lifetime(std::span<const Lifetime> pieces, std::int64_t& total) {
  std::vector<std::size_t> order(pieces.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return pieces[a].bytes > pieces[b].bytes; });

  std::vector<std::int64_t> offsets(pieces.size(), 0);
  std::vector<std::size_t> placed;  // sorted by offset
  total = 0;
  for (std::size_t piece : order) {
    const std::int64_t bytes = aligned(pieces[piece].bytes);
    std::int64_t offset = 0;
    for (std::size_t other : placed) {
      if (!overlap_in_time(pieces[piece], pieces[other])) continue;
      if (offset + bytes <= offsets[other]) break;
      offset = std::max(offset, offsets[other] + aligned(pieces[other].bytes));
    }
    offsets[piece] = offset;
    total = std::max(total, offset + bytes);
    const auto after = std::find_if(placed.begin(), placed.end(),
                                    [&](std::size_t other) { return offsets[other] > offset; });
    placed.insert(after, piece);
  }
  return offsets;
}

int ArenaPlan::add(std::string name, std::int64_t bytes, int count) {
  STAGECOACH_CHECK(bytes >= 0 && count >= 0, "ArenaPlan", "bytes >= 0 and count >= 0",
                   fmt::format("{} bytes x {} for '{}'", bytes, count, name));
  std::int64_t all = 0;
  STAGECOACH_CHECK(bytes <= kMostBytes && !__builtin_mul_overflow(aligned(bytes), count, &all) &&
                       all <= kMostBytes - bytes_,
                   "ArenaPlan", "less than 2^62 bytes in all",
                   fmt::format("{} bytes x {} for '{}'", bytes, count, name));
  regions_.push_back({std::move(name), bytes_, aligned(bytes), count});
  bytes_ += all;
  return static_cast<int>(regions_.size()) - 1;
}

Arena::Arena(ArenaPlan plan, Device device)
    : plan_(std::move(plan)), buffer_(plan_.bytes(), device) {
  for (const Region& region : plan_.regions()) slots_.emplace_back(region.count);
}

Tensor Arena::view(int region, int slot, std::int64_t offset, const TensorSpec& spec) const {
  const Region& r = plan_.regions().at(region);
  STAGECOACH_CHECK(
      slot >= 0 && slot < r.count && offset >= 0 && offset <= r.bytes &&
          spec.bytes() <= r.bytes - offset,
      "Arena::view",
      fmt::format("a slot below {} and at most {} bytes in region '{}'", r.count, r.bytes, r.name),
      fmt::format("slot {}, offset {}, {}", slot, offset, spec.to_string()));
  return buffer_.view(spec, r.offset + slot * r.bytes + offset);
}

Arena::Slot& Arena::slot_of(int region, int slot) {
  const auto regions = static_cast<int>(slots_.size());
  STAGECOACH_CHECK(region >= 0 && region < regions && slot >= 0 &&
                       slot < static_cast<int>(slots_[region].size()),
                   "Arena", "a region and a slot of the plan",
                   fmt::format("slot {} of region {}", slot, region));
  return slots_[region][static_cast<std::size_t>(slot)];
}

void Arena::take(int region, int slot) {
  Slot& one = slot_of(region, slot);
  const Region& r = plan_.regions()[region];
  STAGECOACH_CHECK(!one.taken.exchange(true), "Arena::take", "a free slot",
                   fmt::format("slot {} of '{}', which is in use", slot, r.name));
  if (!one.used.exchange(true)) peak_.fetch_add(r.bytes);
}

void Arena::give(int region, int slot) {
  Slot& one = slot_of(region, slot);
  STAGECOACH_CHECK(
      one.taken.exchange(false), "Arena::give", "a slot in use",
      fmt::format("slot {} of '{}', which is free", slot, plan_.regions()[region].name));
}

}  // namespace stagecoach
