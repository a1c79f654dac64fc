// Watch: sees when another process of the job dies or freezes, and ends the job with words. A
// thread of each process beats in memory that the processes of a machine share, and looks at the
// beats of the others; of each machine one exchanges messages with one of every other machine.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "comm/world.h"
#include "core/error.h"

namespace stagecoach {

// Another process has died or is frozen, and cannot say it itself: WatchOptions::say has.
class LostPeer : public PeerError {
 public:
  using PeerError::PeerError;
};

struct WatchOptions {
  // A process that gives no sign of life for so long is frozen, and is killed by those of its
  // machine, after the words. One that has died is seen at once.
  std::chrono::milliseconds peer_timeout{4000};
  // What a number that set_activity() was given means: "step 3, stage 1, F of micro-batch 4".
  std::function<std::string(std::uint64_t)> describe;
  // Gets the words, at once, in one process of the machine that has seen it.
  std::function<void(const std::string&)> say;
  // Called when the job has been aborted for kTimeToEnd, and this process is still watching: it has
  // to end the process.
  std::function<void()> last_resort;
};

class Watch {
 public:
  static constexpr std::chrono::milliseconds kTimeToEnd{1500};

  // All processes of `world` make one, at the same time, and it outlives this. Throws Error where
  // there is no memory to share.
  Watch(World& world, WatchOptions options);
  // From then on the others do not miss this process.
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // What this process does, for the words of others when it is gone. From any thread.
  void set_activity(std::uint64_t activity);

 private:
  struct Slot;
  class Machines;
  struct Peer {
    int process = 0;
    Slot* slot = nullptr;
  };

  void find_peers();
  void run();
  void look();
  void end(const std::string& words);
  [[nodiscard]] std::string words_of(const Peer& peer, const std::string& what) const;

  World& world_;
  const WatchOptions options_;
  const std::string host_;
  void* shared_ = nullptr;
  std::size_t shared_bytes_ = 0;
  Slot* own_ = nullptr;
  Slot* leader_ = nullptr;   // of the first process of this machine
  std::vector<Peer> peers_;  // other processes of this machine
  std::unique_ptr<Machines> machines_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace stagecoach
