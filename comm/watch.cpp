#include "comm/watch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <new>
#include <optional>
#include <utility>

#include "comm/collectives.h"
#include "comm/launched_process.h"
#include "comm/message.h"
#include "core/error.h"
#include "core/thread.h"

namespace stagecoach {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kWatch = "the watch over processes";
constexpr std::chrono::milliseconds kBeat{100}, kBeatBetweenMachines{500};

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch())
      .count();
}

// Of a process of this machine; one that has ended and was not waited for is dead, too.
bool is_alive(int pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text;
  if (!std::getline(file, text)) return false;
  const auto state = text.rfind(") ");  // its name may be anything
  return state != std::string::npos && text[state + 2] != 'Z' && text[state + 2] != 'X';
}

}  // namespace

// Of a process, in the memory that those of a machine share.
struct alignas(64) Watch::Slot {
  std::atomic<std::int32_t> pid = 0;
  std::atomic<bool> left = false;
  std::atomic<bool> said = false;      // of a machine's first process: somebody there has said it
  std::atomic<std::int64_t> beat = 0;  // time in nanoseconds
  std::atomic<std::uint64_t> activity = 0;
};

// The beats that one process of each machine sends to one of every other. Only these have any.
class Watch::Machines {
 public:
  // `leaders`: of every machine the first process; `hosts`: of every process.
  Machines(World& world, const std::vector<int>& leaders, const std::vector<std::string>& hosts)
      : world_(world) {
    for (const int leader : leaders) {
      if (leader == world.rank()) continue;
      Link& link = links_.emplace_back();
      link.process = leader;
      link.host = hosts[static_cast<std::size_t>(leader)];
      link.heard = Clock::now();
      link.arriving = world.receive(leader, kTag, bytes_of(link.beat));
    }
  }

  void beat() {
    if (Clock::now() - sent_ < kBeatBetweenMachines) return;
    sent_ = Clock::now();
    for (Link& link : links_) {
      if (link.leaving && !link.leaving->has_ended()) continue;
      link.leaving = world_.send(link.process, kTag, bytes_of(kSign));
    }
  }

  // The machine that has not been heard of for `timeout`; empty: none.
  std::string silent(std::chrono::milliseconds timeout) {
    for (Link& link : links_) {
      hear(link);
      if (!link.left && Clock::now() - link.heard > timeout + kBeatBetweenMachines)
        return link.host;
    }
    return "";
  }

  void forgive() {
    for (Link& link : links_) link.heard = Clock::now();
  }

  // No message is under way behind it: waits until the others leave, too.
  void leave(std::chrono::milliseconds timeout) {
    for (Link& link : links_) world_.send(link.process, kTag, bytes_of(kGoodbye));
    const auto here = [](const Link& link) { return !link.left; };
    while (std::ranges::any_of(links_, here)) {
      std::this_thread::sleep_for(kBeat / 10);
      const std::string host = silent(timeout);
      if (host.empty()) continue;
      world_.abort(std::make_exception_ptr(
          LostPeer("training", "all processes to end", "no sign of life from " + host)));
    }
  }

 private:
  static constexpr int kTag = tag_of(MessageKind::kBeat);
  static constexpr std::byte kSign{1}, kGoodbye{2};
  struct Link {
    int process = 0;
    std::string host;
    Clock::time_point heard;
    std::byte beat{};
    Transfer arriving;
    std::optional<Transfer> leaving;
    bool left = false;
  };
  static std::span<std::byte> bytes_of(std::byte& byte) { return {&byte, 1}; }
  static std::span<const std::byte> bytes_of(const std::byte& byte) { return {&byte, 1}; }

  void hear(Link& link) {
    if (link.left || !link.arriving.has_ended()) return;
    link.heard = Clock::now();
    link.left = link.beat == kGoodbye || world_.is_aborted();
    if (!link.left) link.arriving = world_.receive(link.process, kTag, bytes_of(link.beat));
  }

  World& world_;
  std::deque<Link> links_;  // whose memory messages arrive in
  Clock::time_point sent_;
};

Watch::Watch(World& world, WatchOptions options)
    : world_(world), options_(std::move(options)), host_(host_name()) {
  find_peers();
  barrier(world_);
  thread_ = start_thread([this] { run(); });
}

Watch::~Watch() {
  own_->left = true;
  stopping_ = true;
  thread_.join();
  if (machines_) machines_->leave(options_.peer_timeout);
  ::munmap(shared_, shared_bytes_);
}

// Memory without a name, so that nothing of it is left whatever happens: the first process of a
// machine makes it, the others open it through that one's descriptors.
void Watch::find_peers() {
  const auto all_text = [&](const std::string& own) {
    MessageWriter writer;
    writer.put(own);
    std::vector<std::string> all;
    for (const ByteVector& bytes : all_gather(world_, writer.bytes())) {
      all.push_back(MessageReader(bytes).get<std::string>());
    }
    return all;
  };
  const std::vector<std::string> hosts = all_text(host_);
  const std::vector<std::string> machines = all_text(machine_name());
  std::map<std::string, int> first;
  for (int p = world_.size() - 1; p >= 0; --p) first[machines[static_cast<std::size_t>(p)]] = p;
  const int leader = first[machines[static_cast<std::size_t>(world_.rank())]];
  shared_bytes_ = sizeof(Slot) * static_cast<std::size_t>(world_.size());
  int descriptor = -1;
  if (leader == world_.rank()) {
    descriptor = ::memfd_create("stagecoach-watch", MFD_CLOEXEC);
    if (descriptor >= 0 && ::ftruncate(descriptor, static_cast<off_t>(shared_bytes_)) != 0) {
      ::close(std::exchange(descriptor, -1));
    }
  }
  const std::vector<std::string> paths =
      all_text(fmt::format("/proc/{}/fd/{}", ::getpid(), descriptor));
  const std::string& path = paths[static_cast<std::size_t>(leader)];
  if (leader != world_.rank()) descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  shared_ = descriptor < 0
                ? MAP_FAILED
                : ::mmap(nullptr, shared_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  const std::string reason = std::strerror(errno);
  STAGECOACH_CHECK(shared_ != MAP_FAILED, kWatch, fmt::format("memory to share through {}", path),
                   reason);
  auto* const slots = static_cast<Slot*>(shared_);
  own_ = new (slots + world_.rank()) Slot;
  leader_ = slots + leader;
  own_->beat = now();
  own_->pid = ::getpid();
  barrier(world_);  // all slots are there, and all have opened the memory
  ::close(descriptor);
  for (int p = 0; p < world_.size(); ++p) {
    const bool here =
        machines[static_cast<std::size_t>(p)] == machines[static_cast<std::size_t>(world_.rank())];
    if (here && p != world_.rank()) peers_.push_back({p, slots + p});
  }
  std::vector<int> leaders;
  leaders.reserve(first.size());
  for (const auto& [machine, process] : first) leaders.push_back(process);
  if (leader == world_.rank()) machines_ = std::make_unique<Machines>(world_, leaders, hosts);
}

void Watch::set_activity(std::uint64_t activity) {
  own_->activity.store(activity, std::memory_order_relaxed);
  ++progress_.changes;
}

void Watch::set_waiting(bool waiting) {
  progress_.waiting = waiting;
  ++progress_.changes;
}

Watch::Step::Step(Watch* watch) : watch_(watch), begun_(Clock::now()) {
  if (watch_ == nullptr) return;
  watch_->set_waiting(false);
  watch_->progress_.in_step = true;
}

Watch::Step::~Step() {
  if (watch_ == nullptr) return;
  Progress& progress = watch_->progress_;
  progress.in_step = false;
  progress.longest_step =
      std::max<std::chrono::nanoseconds>(progress.longest_step.load(), Clock::now() - begun_);
}

void Watch::run() {
  Clock::time_point looked = Clock::now(), aborted = Clock::time_point::max();
  while (!stopping_) {
    own_->beat = now();
    const Clock::duration since_last = Clock::now() - looked;
    if (world_.is_aborted()) {
      aborted = std::min(aborted, Clock::now());
      if (Clock::now() - aborted > kTimeToEnd && options_.last_resort)
        return options_.last_resort();
    } else if (since_last > 10 * kBeat) {
      if (machines_) machines_->forgive();  // this process was stopped, and perhaps all were
    } else {
      look();
      look_at_itself(since_last);
    }
    looked += since_last;
    std::this_thread::sleep_for(kBeat);
  }
}

void Watch::end(const std::string& words) {
  const LostPeer error("training", "all processes to go on", words);
  if (!leader_->said.exchange(true) && options_.say) options_.say(error.message());
  world_.abort(std::make_exception_ptr(error));
}

void Watch::look() {
  for (const Peer& peer : peers_) {
    if (peer.slot->left) continue;
    if (!is_alive(peer.slot->pid) && !peer.slot->left)
      return end(words_of(peer.process, *peer.slot, "has died"));
    const std::chrono::nanoseconds age(now() - peer.slot->beat);
    if (age > options_.peer_timeout) {
      end(words_of(peer.process, *peer.slot, "gives no sign of life"));
      ::kill(peer.slot->pid, SIGKILL);  // some launchers would wait for it for ever
      return;
    }
  }
  if (!machines_) return;
  machines_->beat();
  if (const std::string host = machines_->silent(options_.peer_timeout); !host.empty()) {
    end(fmt::format("no sign of life from the processes on {}", host));
  }
}

// Time in which this thread did not run is not counted: the others may not have run, either.
void Watch::look_at_itself(std::chrono::nanoseconds since_last) {
  const std::chrono::nanoseconds longest = progress_.longest_step;
  const std::uint64_t changes = progress_.changes;
  const bool may_be_stuck = progress_.in_step && !progress_.waiting && longest.count() > 0;
  if (!may_be_stuck || std::exchange(progress_.seen, changes) != changes) {
    progress_.unchanged = {};
    return;
  }
  progress_.unchanged += since_last;
  if (progress_.unchanged <= longest + options_.peer_timeout) return;
  const auto seconds = [](auto duration) {
    return std::chrono::duration<double>(duration).count();
  };
  end(words_of(world_.rank(), *own_,
               fmt::format("has computed for {:.1f} s without an end, where no step took more than "
                           "{:.1f} s",
                           seconds(progress_.unchanged), seconds(longest))));
}

std::string Watch::words_of(int process, const Slot& slot, const std::string& what) const {
  const std::uint64_t activity = slot.activity.load(std::memory_order_relaxed);
  return fmt::format("process {} on {} (PID {}), which {}; it was last {}", process, host_,
                     slot.pid.load(), what, options_.describe(activity));
}

}  // namespace stagecoach
