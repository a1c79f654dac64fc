#include "comm/collectives.h"

#include <cstdint>

#include "comm/message.h"

namespace stagecoach {
namespace {

std::span<const std::byte> bytes_of(const std::int64_t& value) {
  return std::as_bytes(std::span(&value, 1));
}

// A message with its length in front.
void send(World& world, int to, const ByteVector& bytes, MessageKind kind) {
  const auto length = static_cast<std::int64_t>(bytes.size());
  const Transfer announced = world.send(to, tag_of(kind), bytes_of(length));
  if (length > 0) world.send(to, tag_of(kind), bytes).wait();
  announced.wait();
}

ByteVector receive(World& world, int from, MessageKind kind) {
  std::int64_t length = 0;
  world.receive(from, tag_of(kind), std::as_writable_bytes(std::span(&length, 1))).wait();
  ByteVector bytes(static_cast<std::size_t>(length));
  if (length > 0) world.receive(from, tag_of(kind), bytes).wait();
  return bytes;
}

}  // namespace

std::vector<ByteVector> gather(World& world, const ByteVector& own, MessageKind kind) {
  if (world.rank() != 0) {
    send(world, 0, own, kind);
    return {};
  }
  std::vector<ByteVector> all = {own};
  for (int rank = 1; rank < world.size(); ++rank) all.push_back(receive(world, rank, kind));
  return all;
}

ByteVector broadcast(World& world, ByteVector bytes, int root, MessageKind kind) {
  if (world.rank() != root) return receive(world, root, kind);
  for (int rank = 0; rank < world.size(); ++rank) {
    if (rank != root) send(world, rank, bytes, kind);
  }
  return bytes;
}

std::vector<ByteVector> all_gather(World& world, const ByteVector& own, MessageKind kind) {
  const std::vector<ByteVector> gathered = gather(world, own, kind);
  MessageWriter writer;
  for (const ByteVector& bytes : gathered) writer.put(bytes);
  const ByteVector shared = broadcast(world, writer.bytes(), 0, kind);
  MessageReader reader(shared);
  std::vector<ByteVector> all;
  while (!reader.empty()) all.push_back(reader.get_all<std::byte>());
  return all;
}

void barrier(World& world) {
  gather(world, {});
  broadcast(world, {});
}

}  // namespace stagecoach
