#include "comm/collectives.h"

#include <cstdint>

namespace stagecoach {
namespace {

constexpr int kTag = tag_of(MessageKind::kCollective);

std::span<const std::byte> bytes_of(const std::int64_t& value) {
  return std::as_bytes(std::span(&value, 1));
}

// A message with its length in front.
void send(World& world, int to, const ByteVector& bytes) {
  const auto length = static_cast<std::int64_t>(bytes.size());
  const Transfer announced = world.send(to, kTag, bytes_of(length));
  if (length > 0) world.send(to, kTag, bytes).wait();
  announced.wait();
}

ByteVector receive(World& world, int from) {
  std::int64_t length = 0;
  world.receive(from, kTag, std::as_writable_bytes(std::span(&length, 1))).wait();
  ByteVector bytes(static_cast<std::size_t>(length));
  if (length > 0) world.receive(from, kTag, bytes).wait();
  return bytes;
}

}  // namespace

std::vector<ByteVector> gather(World& world, const ByteVector& own) {
  if (world.rank() != 0) {
    send(world, 0, own);
    return {};
  }
  std::vector<ByteVector> all = {own};
  for (int rank = 1; rank < world.size(); ++rank) all.push_back(receive(world, rank));
  return all;
}

ByteVector broadcast(World& world, ByteVector bytes, int root) {
  if (world.rank() != root) return receive(world, root);
  for (int rank = 0; rank < world.size(); ++rank) {
    if (rank != root) send(world, rank, bytes);
  }
  return bytes;
}

std::vector<ByteVector> all_gather(World& world, const ByteVector& own) {
  std::vector<ByteVector> all = gather(world, own);
  all.resize(static_cast<std::size_t>(world.size()));
  for (ByteVector& bytes : all) bytes = broadcast(world, std::move(bytes));
  return all;
}

void barrier(World& world) {
  gather(world, {});
  broadcast(world, {});
}

}  // namespace stagecoach
