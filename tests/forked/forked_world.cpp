#include "tests/forked/forked_world.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "core/error.h"
#include "core/worker.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80  // since Linux 5.6
#endif

namespace stagecoach::testing {
namespace {

constexpr std::int32_t kAbort = -1, kGoodbye = -2;

struct Frame {
  std::int32_t tag = 0, padding = 0;
  std::int64_t bytes = 0;
};

bool write_all(int socket, const void* data, std::size_t bytes) {
  for (const auto* at = static_cast<const char*>(data); bytes > 0;) {
    const ssize_t count = ::send(socket, at, bytes, MSG_NOSIGNAL);
    if (count <= 0) return false;
    at += count;
    bytes -= static_cast<std::size_t>(count);
  }
  return true;
}

bool read_all(int socket, void* data, std::size_t bytes) {
  for (auto* at = static_cast<char*>(data); bytes > 0;) {
    const ssize_t count = ::recv(socket, at, bytes, 0);
    if (count <= 0) return false;
    at += count;
    bytes -= static_cast<std::size_t>(count);
  }
  return true;
}

class ForkedWorld final : public World {
 public:
  // `sockets`: to each process; none to this one.
  ForkedWorld(int rank, const std::vector<int>& sockets) : rank_(rank), peers_(sockets.size()) {
    for (int i = 0; i < size(); ++i) {
      if (i == rank_) continue;
      Peer& peer = peers_[static_cast<std::size_t>(i)];
      peer.socket = sockets[static_cast<std::size_t>(i)];
      peer.writer = std::make_unique<Worker>();
      peer.reader = std::thread([this, i] { read_from(i); });
    }
  }
  ~ForkedWorld() override {
    for (Peer& peer : peers_) {
      if (peer.writer) write_frame(peer, kGoodbye, {});
    }
    for (Peer& peer : peers_) {
      if (peer.writer) peer.reader.join();
    }
  }

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(peers_.size()); }

  Transfer send(int to, int tag, std::span<const std::byte> bytes) override {
    Transfer transfer;
    const std::lock_guard lock(mutex_);
    if (error_) {
      transfer.end(error_);
    } else {
      write_frame(peers_[static_cast<std::size_t>(to)], tag, bytes, transfer);
    }
    return transfer;
  }

  Transfer receive(int from, int tag, std::span<std::byte> bytes) override {
    Transfer transfer;
    std::unique_lock lock(mutex_);
    Peer& peer = peers_[static_cast<std::size_t>(from)];
    Inbox& inbox = peer.inboxes[tag];
    if (!inbox.unread.empty()) {
      take(inbox.unread.front(), bytes, transfer);
      inbox.unread.pop_front();
    } else if (error_ || peer.gone) {
      transfer.end(why_it_ended(from, lock));
    } else {
      inbox.posted.push_back({bytes, transfer});
    }
    return transfer;
  }

  bool is_aborted() const override {
    const std::lock_guard lock(mutex_);
    return error_ != nullptr;
  }
  void abort(const std::exception_ptr& error) noexcept override {
    const std::string text = message_of(error);
    if (!fail(error)) return;
    for (Peer& peer : peers_) {
      if (peer.writer) write_frame(peer, kAbort, std::as_bytes(std::span(text)));
    }
    for (Peer& peer : peers_) {
      if (peer.writer) peer.writer->drain();
    }
  }

 private:
  using Unread = std::vector<std::byte>;
  struct Posted {
    std::span<std::byte> bytes;
    Transfer transfer;
  };
  struct Inbox {
    std::deque<Unread> unread;
    std::deque<Posted> posted;
  };
  struct Peer {
    int socket = -1;
    bool gone = false;             // it has said so
    std::map<int, Inbox> inboxes;  // by tag
    std::unique_ptr<Worker> writer;
    std::thread reader;
  };

  static void take(const Unread& message, std::span<std::byte> to, const Transfer& transfer) {
    if (message.size() != to.size()) {
      transfer.end(std::make_exception_ptr(
          Error("a message", fmt::format("{} bytes", to.size()), std::to_string(message.size()))));
      return;
    }
    if (!to.empty()) std::memcpy(to.data(), message.data(), to.size());
    transfer.end();
  }

  static void write_frame(Peer& peer, std::int32_t tag, std::span<const std::byte> bytes,
                          const Transfer& transfer = {}) {
    // What has no transfer to wait for is copied.
    auto copy = tag < 0 ? std::make_shared<Unread>(bytes.begin(), bytes.end()) : nullptr;
    if (copy) bytes = *copy;
    peer.writer->enqueue([socket = peer.socket, tag, bytes, copy, transfer] {
      const Frame frame{tag, 0, static_cast<std::int64_t>(bytes.size())};
      if (write_all(socket, &frame, sizeof frame)) write_all(socket, bytes.data(), bytes.size());
      transfer.end();  // that there is no reader is noticed by reading
    });
  }

  void read_from(int from) {
    Peer& peer = peers_[static_cast<std::size_t>(from)];
    Frame frame;
    while (read_all(peer.socket, &frame, sizeof frame)) {
      Unread message(static_cast<std::size_t>(frame.bytes));
      if (!read_all(peer.socket, message.data(), message.size())) break;
      if (frame.tag == kGoodbye) {
        std::unique_lock lock(mutex_);
        peer.gone = true;
        if (has_posted(peer)) end_receives(peer, why_it_ended(from, lock));
        return;
      }
      if (frame.tag == kAbort) {
        const std::string text(reinterpret_cast<const char*>(message.data()), message.size());
        fail(std::make_exception_ptr(
            PeerError(fmt::format("process {}", from), "no failure", text)));
        continue;
      }
      const std::lock_guard lock(mutex_);
      Inbox& inbox = peer.inboxes[frame.tag];
      if (inbox.posted.empty()) {
        inbox.unread.push_back(std::move(message));
      } else {
        take(message, inbox.posted.front().bytes, inbox.posted.front().transfer);
        inbox.posted.pop_front();
      }
    }
    std::unique_lock lock(mutex_);
    const std::exception_ptr error = why_it_ended(from, lock);
    lock.unlock();
    fail(error);
  }

  // Another's failure, at which it ended, may be read a little later than its end.
  std::exception_ptr why_it_ended(int from, std::unique_lock<std::mutex>& lock) {
    failed_.wait_for(lock, std::chrono::seconds(1), [this] { return error_ != nullptr; });
    return error_ ? error_ : ended(from);
  }

  // False when it has failed already.
  bool fail(const std::exception_ptr& error) {
    const std::lock_guard lock(mutex_);
    if (error_) return false;
    error_ = error;
    failed_.notify_all();
    for (Peer& peer : peers_) end_receives(peer, error);
    return true;
  }

  static bool has_posted(const Peer& peer) {
    return std::ranges::any_of(peer.inboxes,
                               [](const auto& inbox) { return !inbox.second.posted.empty(); });
  }

  static void end_receives(Peer& peer, const std::exception_ptr& error) {
    for (auto& [tag, inbox] : peer.inboxes) {
      for (const Posted& posted : inbox.posted) posted.transfer.end(error);
      inbox.posted.clear();
    }
  }

  static std::exception_ptr ended(int rank) {
    return std::make_exception_ptr(
        PeerError(fmt::format("process {}", rank), "it to be there", "its end"));
  }

  const int rank_;
  mutable std::mutex mutex_;
  std::condition_variable failed_;
  std::exception_ptr error_;
  std::vector<Peer> peers_;
};

int status_of_body(int rank, const std::vector<int>& sockets,
                   const std::function<void(World&)>& body) {
  ForkedWorld world(rank, sockets);
  try {
    body(world);
    return ::testing::Test::HasFailure() ? 1 : 0;
  } catch (const PeerError&) {
    return 1;  // who failed first has said it
  } catch (const std::exception& error) {
    std::fprintf(stderr, "process %d: %s\n", rank, error.what());
    world.abort(std::current_exception());
    return 1;
  }
}

}  // namespace

std::vector<int> run_forked(int size, const std::function<void(World&)>& body,
                            const std::function<void(int)>& before) {
  const auto count = static_cast<std::size_t>(size);
  std::vector<std::vector<int>> sockets(count, std::vector<int>(count, -1));
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = i + 1; j < count; ++j) {
      std::array<int, 2> pair{};
      STAGECOACH_CHECK(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data()) == 0, "run_forked",
                       "a pair of sockets", std::strerror(errno));
      sockets[i][j] = pair[0];
      sockets[j][i] = pair[1];
    }
  }
  std::fflush(nullptr);
  std::vector<pid_t> children;
  for (int rank = 0; rank < size; ++rank) {
    const pid_t child = ::fork();
    STAGECOACH_CHECK(child >= 0, "run_forked", "another process", std::strerror(errno));
    if (child == 0) {
      for (std::size_t i = 0; i < count; ++i) {
        for (const int socket : sockets[i]) {
          if (socket >= 0 && i != static_cast<std::size_t>(rank)) ::close(socket);
        }
      }
      if (before) before(rank);
      const int status = status_of_body(rank, sockets[static_cast<std::size_t>(rank)], body);
      std::fflush(nullptr);
      ::_exit(status);
    }
    children.push_back(child);
  }
  for (const auto& own : sockets) {
    for (const int socket : own) {
      if (socket >= 0) ::close(socket);
    }
  }
  std::vector<int> statuses;
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    statuses.push_back(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  }
  return statuses;
}

void end_process(int status) {
  ::syscall(SYS_exit_group, status);
  std::abort();
}

std::string set_clock_ahead(int seconds) {
  const auto failed = [](const char* what) {
    return std::string(what) + ": " + std::strerror(errno);
  };
  if (::unshare(CLONE_NEWTIME) != 0) return failed("a time namespace");
  std::ofstream offsets("/proc/self/timens_offsets");
  if (!(offsets << "monotonic " << seconds << " 0" << std::endl)) return failed("an offset of it");
  offsets.close();
  const int space = ::open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
  const bool entered = space >= 0 && ::setns(space, CLONE_NEWTIME) == 0;
  const std::string error = entered ? "" : failed("entering it");
  if (space >= 0) ::close(space);
  return error;
}

}  // namespace stagecoach::testing
