// World: the processes of one job, numbered from 0, and how bytes get from one to another. What a
// transport between processes must give; channels and collectives are made from it.
#pragma once

#include <cstddef>
#include <exception>
#include <span>
#include <string>
#include <vector>

#include "comm/transfer.h"

namespace stagecoach {

class World {
 public:
  virtual ~World() = default;

  virtual int rank() const = 0;  // of this process
  virtual int size() const = 0;

  // Begin to send or receive, and return at once. Messages from one process to another with one tag
  // arrive in the order in which they were sent; the receiver knows how long they are. `tag` >= 0.
  // May be called by several threads. A transfer that cannot be, as the job was aborted or the
  // other process is gone, ends with the error.
  virtual Transfer send(int to, int tag, std::span<const std::byte> bytes) = 0;
  virtual Transfer receive(int from, int tag, std::span<std::byte> bytes) = 0;

  // Sums of the transport's own, in whatever order it adds: to compare with, as nobody promises
  // their bits. Error where it has none. A group is made by all of its processes at the same time,
  // which blocks them; they call add_up() for it in one order. Behind it, each has in `values` the
  // sum of what all had there.
  virtual int make_group(const std::vector<int>& processes);
  virtual Transfer add_up(int group, std::span<float> values);

  // Ends the job: transfers of this process, now and later, end with `error`, and those of the
  // others with a PeerError that has its text. The first call counts. Does not throw.
  virtual void abort(const std::exception_ptr& error) noexcept = 0;
  // By whichever process.
  virtual bool is_aborted() const = 0;
  // What others have said when they aborted it, as far as it has come here.
  struct Words {
    int process = 0;
    std::string text;
  };
  virtual std::vector<Words> errors_of_others() const { return {}; }
};

// What messages are about, so that no two kinds of them share a tag.
enum class MessageKind {
  kCollective,
  kCheckpoint,
  kBeat,
  kActivation,
  kGradient,
  kReplicas,
  kNorms,
  kLinks
};

// Of messages of one kind that belong to a stage, or another number.
constexpr int tag_of(MessageKind kind, int number = 0) {
  return 8 * number + static_cast<int>(kind);
}

}  // namespace stagecoach
