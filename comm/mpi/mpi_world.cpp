#include "comm/mpi/mpi_world.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "comm/mpi/mpi_plugin.h"
#include "core/error.h"
#include "core/thread.h"

namespace stagecoach {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kMpi = "MPI";
// MPI moves messages only while it is called. Right after one has moved the next may be near; then
// pauses grow, and the processor is left to those who compute.
constexpr int kBusyPolls = 50;
constexpr std::chrono::microseconds kLeastPause{20}, kMostPause{500};
constexpr std::chrono::milliseconds kTimeToAbort{300};

// What a process tells all others when it ends the job.
struct Notice {
  std::int32_t from = 0;
  std::array<char, 1020> text{};  // short enough to leave at once, whoever is there to take it
};

class MpiWorld final : public World {
 public:
  explicit MpiWorld(const LaunchedProcess& process)
      : process_(process), plugin_(process), api_(plugin_.api()) {
    thread_ = start_thread([this] { run(); });
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return started_ || error_; });
    if (!started_) {
      stopping_ = true;
      lock.unlock();
      thread_.join();
      std::rethrow_exception(error_);
    }
  }
  ~MpiWorld() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  Transfer send(int to, int tag, std::span<const std::byte> bytes) override {
    return begin({Kind::kSend, to, tag, const_cast<std::byte*>(bytes.data()), bytes.size()});
  }
  Transfer receive(int from, int tag, std::span<std::byte> bytes) override {
    return begin({Kind::kReceive, from, tag, bytes.data(), bytes.size()});
  }
  int make_group(const std::vector<int>& processes) override {
    int group = 0;
    begin({Kind::kGroup, 0, 0, nullptr, processes.size(), {}, processes.data(), &group}).wait();
    return group;
  }
  Transfer add_up(int group, std::span<float> values) override {
    return begin(
        {Kind::kSum, group, 0, reinterpret_cast<std::byte*>(values.data()), values.size()});
  }

  void abort(const std::exception_ptr& error) noexcept override {
    std::unique_lock lock(mutex_);
    if (!error_) {
      error_ = error;
      own_error_ = true;
      changed_.notify_all();
    }
    // Until the others know, or have had the time to.
    changed_.wait_for(lock, kTimeToAbort, [this] { return told_; });
  }

  bool is_aborted() const override { return error() != nullptr; }
  std::vector<Words> errors_of_others() const override {
    const std::lock_guard lock(mutex_);
    return errors_of_others_;
  }

 private:
  enum class Kind { kSend, kReceive, kGroup, kSum };
  struct Operation {
    Kind kind;
    int peer, tag;  // of a sum: its group
    std::byte* bytes;
    std::size_t count;  // of bytes; of a sum, of numbers
    Transfer transfer = {};
    const int* processes = nullptr;  // of a group, with its number
    int* group = nullptr;
  };

  Transfer begin(const Operation& operation) {
    const Transfer transfer = operation.transfer;
    const std::lock_guard lock(mutex_);
    if (error_) {
      transfer.end(error_);
    } else if (operation.count > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
      transfer.end(std::make_exception_ptr(
          Error(kMpi,
                fmt::format("a message of at most {} bytes, or a sum of so many numbers",
                            std::numeric_limits<int>::max()),
                std::to_string(operation.count))));
    } else {
      new_.push_back(operation);
      changed_.notify_all();
    }
    return transfer;
  }

  // The thread that calls MPI, all of whose calls are here or below.
  void run() {
    try {
      start();
      while (!error() && !is_done()) {
        begin_new();
        const bool moved = end_some();
        pause(moved);
      }
      if (error()) return end_job();
      check(api_.cancel(notice_number_));
      end_some();
      check(api_.finish());
    } catch (...) {
      fail(std::current_exception());
      end_job();
    }
  }

  void start() {
    check(api_.start(&rank_, &size_));
    // An MPI that does not understand its launcher takes each process for one alone.
    STAGECOACH_CHECK(size_ == process_.processes, kMpi,
                     fmt::format("{} processes, as {} says by {}", process_.processes,
                                 process_.launcher, process_.seen),
                     fmt::format("{} of {}", size_, api_.library()),
                     "this launcher is of another MPI: install that one (libopenmpi-dev, "
                     "libmpich-dev) and build again, or start with this one's (mpirun, "
                     "mpiexec.mpich; srun --mpi=pmix for Open MPI, pmi2 for MPICH)");
    listen();
    const std::lock_guard lock(mutex_);
    started_ = true;
    changed_.notify_all();
  }

  void listen() { check(api_.receive_notice(&notice_, sizeof notice_, &notice_number_)); }

  bool is_done() const {
    const std::lock_guard lock(mutex_);
    return stopping_ && new_.empty() && under_way_.empty();
  }
  std::exception_ptr error() const {
    const std::lock_guard lock(mutex_);
    return error_;
  }
  void fail(const std::exception_ptr& error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = error;
    changed_.notify_all();
  }

  void begin_new() {
    for (;;) {
      std::unique_lock lock(mutex_);
      if (new_.empty()) return;
      const Operation next = new_.front();  // it stays there until MPI has it
      lock.unlock();
      int number = 0;
      check(begin_in_mpi(next, &number));
      lock.lock();
      new_.pop_front();
      if (next.kind == Kind::kGroup) {
        next.transfer.end();
      } else {
        under_way_.emplace(number, next);
        sums_ += next.kind == Kind::kSum ? 1 : 0;
      }
    }
  }

  int begin_in_mpi(const Operation& operation, int* number) const {
    const auto& [kind, peer, tag, bytes, all, transfer, processes, group] = operation;
    const int count = static_cast<int>(all);
    switch (kind) {
      case Kind::kSend:
        return api_.send(peer, tag, bytes, count, number);
      case Kind::kReceive:
        return api_.receive(peer, tag, bytes, count, number);
      case Kind::kSum:
        return api_.add_up(peer, reinterpret_cast<float*>(bytes), count, number);
      case Kind::kGroup:
        break;
    }
    return api_.make_group(processes, count, group);
  }

  // Whether any transfer has ended.
  bool end_some() {
    constexpr int kMost = 64;
    std::array<int, kMost> numbers{}, codes{};
    int ended = 0;
    check(api_.test(kMost, &ended, numbers.data(), codes.data()));
    for (int i = 0; i < ended; ++i) {
      if (numbers[i] == notice_number_) {
        if (!is_done()) hear();
        continue;
      }
      const std::lock_guard lock(mutex_);
      const auto found = under_way_.find(numbers[i]);
      if (found == under_way_.end()) {
        notices_under_way_.erase(numbers[i]);
        continue;
      }
      // A receive that was cancelled has ended, too.
      found->second.transfer.end(error_ ? error_ : codes[i] == 0 ? nullptr : error_of(codes[i]));
      sums_ -= found->second.kind == Kind::kSum ? 1 : 0;
      under_way_.erase(found);
    }
    return ended > 0;
  }

  void hear() {
    const std::string text = notice_.text.data();
    const std::string from = fmt::format("process {}", notice_.from);
    fail(std::make_exception_ptr(PeerError(from, "no failure", text)));
    {
      const std::lock_guard lock(mutex_);
      errors_of_others_.push_back({notice_.from, text});
    }
    listen();
  }

  void pause(bool moved) {
    if (moved) {
      polls_ = 0;
      pause_ = kLeastPause;
    }
    if (sums_ > 0) return std::this_thread::yield();  // MPI adds while it is called, too
    if (polls_ < kBusyPolls) {
      ++polls_;
      return std::this_thread::yield();
    }
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, pause_, [this] { return !new_.empty() || stopping_ || error_; });
    pause_ = std::min(2 * pause_, kMostPause);
  }

  // Tells the others, if the error is this process's. When nothing of this process's memory is
  // written to any more, transfers end; then hears for a while what others say. A process that is
  // gone does not take its message.
  void end_job() {
    const auto deadline = Clock::now() + kTimeToAbort;
    const auto move_while = [&](const auto& condition) {
      while (Clock::now() < deadline && condition()) {
        end_some();
        std::this_thread::sleep_for(kLeastPause);
      }
    };
    try {
      if (own_error()) tell_others();
      cancel_receives();
      move_while([this] { return is_written_to(); });
      end_all();
      move_while([this] { return sums_ == 0 && !notices_under_way_.empty(); });
      have_told();
      while (!is_stopping()) {
        if (sums_ == 0) end_some();  // a sum cannot be cancelled, and its memory may be gone
        std::this_thread::sleep_for(kMostPause);
      }
    } catch (const std::exception&) {
      end_all();  // MPI itself has failed: what is not said by now will not be said
      have_told();
    }
  }

  bool own_error() const {
    const std::lock_guard lock(mutex_);
    return own_error_;
  }
  bool is_stopping() const {
    const std::lock_guard lock(mutex_);
    return stopping_;
  }
  // MPI may still write.
  bool is_written_to() const {
    const std::lock_guard lock(mutex_);
    return std::ranges::any_of(under_way_,
                               [](const auto& each) { return each.second.kind != Kind::kSend; });
  }

  void tell_others() {
    own_notice_.from = rank_;
    const std::string text = message_of(error());
    text.copy(own_notice_.text.data(), own_notice_.text.size() - 1);
    for (int to = 0; to < size_; ++to) {
      if (to == rank_) continue;
      int number = 0;
      check(api_.send_notice(to, &own_notice_, sizeof own_notice_, &number));
      notices_under_way_.insert(number);
    }
  }

  void cancel_receives() {
    const std::lock_guard lock(mutex_);
    for (const auto& [number, operation] : under_way_) {
      if (operation.kind == Kind::kReceive) check(api_.cancel(number));
    }
  }

  void end_all() {
    const std::lock_guard lock(mutex_);
    for (const auto& [number, operation] : under_way_) operation.transfer.end(error_);
    for (const Operation& operation : new_) operation.transfer.end(error_);
    under_way_.clear();
    new_.clear();
  }
  void have_told() {
    const std::lock_guard lock(mutex_);
    told_ = true;
    changed_.notify_all();
  }

  std::exception_ptr error_of(int code) const {
    std::array<char, 512> text{};
    api_.error_text(code, text.data(), static_cast<int>(text.size()));
    return std::make_exception_ptr(Error(kMpi, "a transfer", text.data()));
  }
  void check(int code) const {
    if (code != 0) std::rethrow_exception(error_of(code));
  }

  const LaunchedProcess process_;
  const MpiPlugin plugin_;
  const MpiApi& api_;
  int rank_ = 0, size_ = 1;
  // Of the thread that calls MPI.
  int notice_number_ = -1, polls_ = 0;
  int sums_ = 0;  // under way, in MPI
  std::chrono::microseconds pause_ = kLeastPause;
  Notice notice_, own_notice_;
  std::set<int> notices_under_way_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool started_ = false, stopping_ = false, own_error_ = false, told_ = false;
  std::exception_ptr error_;
  std::deque<Operation> new_;
  std::map<int, Operation> under_way_;  // by MPI's number
  std::vector<Words> errors_of_others_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<World> make_mpi_world(const LaunchedProcess& process) {
  return std::make_unique<MpiWorld>(process);
}

}  // namespace stagecoach
