// Watch: sees when another process of the job dies or freezes, or this one does not get on, and
// ends the job with words. A thread of each process beats in memory that the processes of a machine
// share, and looks at the beats of the others; of each machine one exchanges messages with one of
// every other machine.
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

// A process has died, is frozen or does not get on, and cannot say it itself: WatchOptions::say
// has.
class LostPeer : public PeerError {
 public:
  using PeerError::PeerError;
};

struct WatchOptions {
  // A process that gives no sign of life for so long is frozen, and is killed by those of its
  // machine, after the words. One that has died is seen at once. So long, beyond the longest step
  // that has ended, may a process be at one thing in a step: see Step.
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

  // What this process does, for the words when it is gone, or does not get on. From any thread.
  void set_activity(std::uint64_t activity);
  // Whether it waits for others, which may take them as long as it takes. From any thread.
  void set_waiting(bool waiting);

  // While there is one, this process is in a step: one that neither waits nor is told to do another
  // thing for long does not get on. How long a step may take is known when a first one has ended;
  // between steps, and in that one, anything may take as long as it takes.
  class Step {
   public:
    explicit Step(Watch* watch);  // null: nobody watches
    ~Step();
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;

   private:
    Watch* const watch_;
    const std::chrono::steady_clock::time_point begun_;
  };

 private:
  struct Slot;
  // Of this process.
  struct Progress {
    std::atomic<bool> in_step = false, waiting = false;
    std::atomic<std::uint64_t> changes = 0;
    std::atomic<std::chrono::nanoseconds> longest_step{};
    // Of the watching thread: what it has seen, and for how long.
    std::uint64_t seen = 0;
    std::chrono::nanoseconds unchanged{};
  };
  class Machines;
  struct Peer {
    int process = 0;
    Slot* slot = nullptr;
  };

  void find_peers();
  void run();
  void look();
  void look_at_itself(std::chrono::nanoseconds since_last);
  void end(const std::string& words);
  [[nodiscard]] std::string words_of(int process, const Slot& slot, const std::string& what) const;

  World& world_;
  const WatchOptions options_;
  const std::string host_;
  void* shared_ = nullptr;
  std::size_t shared_bytes_ = 0;
  Slot* own_ = nullptr;
  Slot* leader_ = nullptr;   // of the first process of this machine
  std::vector<Peer> peers_;  // other processes of this machine
  std::unique_ptr<Machines> machines_;
  Progress progress_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace stagecoach
