// NCCL on simulated GPUs, between real processes. It stands in for comm/nccl/nccl_api.cpp.
//
// It is stricter than the real one: a send has no buffer, and lasts until the other end receives,
// so a wrong order hangs at any size; counts, types and whether a call was captured have to match;
// work of a communicator runs in the order of its calls, also in a graph; nothing may be captured
// before the direction was used, and no communicator ends before graphs that use it. When another
// process is gone, it waits for ever, as kernels do, until the communicator is aborted. Only
// communicators of two send and receive; sums are in the order of the ranks.
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "comm/nccl/nccl_api.h"

namespace simulated {
namespace {

std::atomic<int> faults = 0, open_communicators = 0;

void fault(const std::string& what) {
  ++faults;
  std::fprintf(stderr, "simulated NCCL, process %d: %s\n", ::getpid(), what.c_str());
}

// Of the calls that one capture has made on a communicator: they run in their order.
struct CapturedOrder {
  int calls = 0, done = 0;
};

enum class Kind : std::uint32_t { kSend, kReceive, kAddUp };

struct Call {
  Kind kind = Kind::kSend;
  void* data = nullptr;
  std::size_t count = 0;
  ncclDataType_t type = ncclUint8;

  std::size_t bytes() const {
    return count * (type == ncclUint8 ? 1 : type == ncclBfloat16 ? 2 : 4);
  }
};

// What both ends say of a call.
struct Words {
  std::uint64_t count = 0;
  std::uint32_t type = 0, captured = 0, added = 0;
  bool operator==(const Words&) const = default;
  std::string to_string() const {
    return std::to_string(count) + " elements of type " + std::to_string(type) +
           (captured != 0 ? ", captured" : "") + (added != 0 ? ", added up" : "");
  }
};

// What outlives a communicator in the tasks of streams.
class Connection {
 public:
  Connection(int ranks, int rank) : rank_(rank), peers_(static_cast<std::size_t>(ranks)) {}
  ~Connection() {
    if (opener_.joinable()) opener_.join();
    for (const Sockets& peer : peers_) {
      if (peer.to_it >= 0) ::close(peer.to_it);
      if (peer.from_it >= 0) ::close(peer.from_it);
    }
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // `listener`: of rank 0.
  void open(const sockaddr_un& address, int listener) {
    opener_ = std::thread([this, address, listener] {
      if (listener >= 0) {
        accept_all(listener);
        ::close(listener);
      } else {
        connect_to(address, 0, peers_[0].to_it);
        connect_to(address, 1, peers_[0].from_it);
      }
      ready_ = true;
    });
  }
  void abort() { aborted_ = true; }
  ncclResult_t status() const { return ready_ ? ncclResult_t(status_.load()) : ncclInProgress; }
  std::string last_error() {
    std::lock_guard lock(mutex_);
    return error_;
  }

  cudaError_t enqueue(cudaStream_t stream, std::vector<Call> calls,
                      const std::shared_ptr<Connection>& self) {
    const long capture = capture_of(stream);
    for (const Call& call : calls) {
      bool& used = used_[static_cast<std::size_t>(call.kind)];
      if (capture != 0 && !used) fault("a direction is captured before it was used");
      used = true;
    }
    if (capture == 0) {
      const long turn = turns_++;
      return simulated::enqueue(stream, [self, turn, calls] {
        self->await([&] { return self->served_ == turn; });
        self->run(calls, false);
        self->change([&] { ++self->served_; });
      });
    }
    std::shared_ptr<CapturedOrder> order = captured_[capture].lock();
    if (!order) captured_[capture] = order = std::make_shared<CapturedOrder>();
    const int place = order->calls++;
    return simulated::enqueue(stream, [self, order, place, calls] {
      self->await([&] { return order->done == place; });
      self->run(calls, true);
      self->change([&] { order->done = (order->done + 1) % order->calls; });
    });
  }
  bool is_in_a_graph() const {
    for (const auto& [capture, order] : captured_) {
      if (!order.expired()) return true;
    }
    return false;
  }

 private:
  // To another rank: rank 0 has all others, which have it alone.
  struct Sockets {
    int to_it = -1, from_it = -1;
  };
  // Who connects, and whether what comes along the socket goes back to it.
  struct Hello {
    int rank = 0, is_back = 0;
  };

  void accept_all(int listener) {
    for (std::size_t missing = 2 * (peers_.size() - 1); missing > 0 && !aborted_;) {
      pollfd ready{listener, POLLIN, 0};
      const int socket = ::poll(&ready, 1, 20) == 1 ? ::accept(listener, nullptr, nullptr) : -1;
      Hello hello;
      if (socket < 0) continue;
      if (!read(socket, &hello, sizeof hello)) return;
      Sockets& peer = peers_.at(static_cast<std::size_t>(hello.rank));
      (hello.is_back != 0 ? peer.to_it : peer.from_it) = socket;
      --missing;
    }
  }
  void connect_to(const sockaddr_un& address, int is_back, int& socket) {
    while (socket < 0 && !aborted_) {
      socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
      if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
        const Hello hello{rank_, is_back};
        write(socket, &hello, sizeof hello);
        return;
      }
      ::close(std::exchange(socket, -1));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  template <typename Ready>
  void await(const Ready& ready) {
    std::unique_lock lock(mutex_);
    while (!ready() && !aborted_) changed_.wait_for(lock, std::chrono::milliseconds(20));
  }
  template <typename Change>
  void change(const Change& change) {
    {
      std::lock_guard lock(mutex_);
      change();
    }
    changed_.notify_all();
  }

  // Both directions go on side by side, each in its order.
  void run(const std::vector<Call>& calls, bool captured) {
    const auto run_all = [&](Kind kind) {
      for (const Call& call : calls) {
        if (call.kind != kind || aborted_ || status_ != ncclSuccess) continue;
        if (kind == Kind::kAddUp) {
          add_up(call, captured);
        } else {
          transfer(peers_[rank_ == 0 ? 1 : 0], call, captured);
        }
      }
    };
    const auto has = [&](Kind kind) {
      return std::ranges::any_of(calls, [&](const Call& call) { return call.kind == kind; });
    };
    std::thread receives;
    if (has(Kind::kSend) && has(Kind::kReceive)) {
      receives = std::thread([&] { run_all(Kind::kReceive); });
    } else {
      run_all(Kind::kReceive);
    }
    run_all(Kind::kSend);
    if (receives.joinable()) receives.join();
    run_all(Kind::kAddUp);
  }

  // Rank 0 adds, in the order of the ranks, and hands the sums to all.
  void add_up(Call call, bool captured) {
    const auto transfer_as = [&](Kind kind, const Sockets& peer) {
      call.kind = kind;
      transfer(peer, call, captured, true);
    };
    if (rank_ != 0) {
      transfer_as(Kind::kSend, peers_[0]);
      return transfer_as(Kind::kReceive, peers_[0]);
    }
    auto* const sums = static_cast<float*>(call.data);
    std::vector<float> others(call.count);
    call.data = others.data();
    for (std::size_t peer = 1; peer < peers_.size(); ++peer) {
      transfer_as(Kind::kReceive, peers_[peer]);
      for (std::size_t i = 0; i < others.size(); ++i) sums[i] += others[i];
    }
    call.data = sums;
    for (std::size_t peer = 1; peer < peers_.size(); ++peer) {
      transfer_as(Kind::kSend, peers_[peer]);
    }
  }

  // The receiver speaks first: until then, nothing moves.
  void transfer(const Sockets& peer, const Call& call, bool captured, bool added = false) {
    const bool sends = call.kind == Kind::kSend;
    const int socket = sends ? peer.to_it : peer.from_it;
    const Words own{call.count, static_cast<std::uint32_t>(call.type), captured ? 1U : 0U,
                    added ? 1U : 0U};
    Words other;
    if (sends) {
      if (!read(socket, &other, sizeof other) || !write(socket, &own, sizeof own)) return;
    } else if (!write(socket, &own, sizeof own) || !read(socket, &other, sizeof other)) {
      return;
    }
    if (own != other) {
      std::lock_guard lock(mutex_);
      error_ = std::string(sends ? "sends " : "receives ") + own.to_string() +
               ", the other end has " + other.to_string();
      status_ = ncclInvalidUsage;
      return;
    }
    if (sends) {
      write(socket, call.data, call.bytes());
    } else {
      read(socket, call.data, call.bytes());
    }
  }
  bool wait_for(int socket, short event) const {
    while (!aborted_) {
      pollfd ready{socket, event, 0};
      if (::poll(&ready, 1, 20) == 1 && (ready.revents & event) != 0) return true;
    }
    return false;
  }
  bool read(int socket, void* data, std::size_t bytes) const {
    for (auto* at = static_cast<char*>(data); bytes > 0;) {
      if (!wait_for(socket, POLLIN)) return false;
      const ssize_t count = ::recv(socket, at, bytes, MSG_DONTWAIT);
      if (count <= 0) {  // its process is gone
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        continue;
      }
      at += count;
      bytes -= static_cast<std::size_t>(count);
    }
    return true;
  }
  bool write(int socket, const void* data, std::size_t bytes) const {
    for (const auto* at = static_cast<const char*>(data); bytes > 0;) {
      if (!wait_for(socket, POLLOUT)) return false;
      const ssize_t count = ::send(socket, at, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count <= 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        continue;
      }
      at += count;
      bytes -= static_cast<std::size_t>(count);
    }
    return true;
  }

  const int rank_;
  std::vector<Sockets> peers_;  // by rank
  std::thread opener_;
  std::atomic<bool> ready_ = false, aborted_ = false;
  std::atomic<int> status_ = ncclSuccess;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string error_;
  long turns_ = 0, served_ = 0;                            // outside of graphs
  bool used_[3] = {false, false, false};                   // by kind
  std::map<long, std::weak_ptr<CapturedOrder>> captured_;  // by capture
};

sockaddr_un address_of(const ncclUniqueId& id) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, id.internal, 64);  // no file: its name begins with a zero
  return address;
}

std::map<std::string, int> listeners;  // of ids that this process has given out

struct Group {
  int depth = 0;
  std::vector<std::pair<ncclComm_t, cudaStream_t>> order;
  std::map<std::pair<ncclComm_t, cudaStream_t>, std::vector<Call>> calls;
};
thread_local Group group;

ncclResult_t add(ncclComm_t comm, cudaStream_t stream, const Call& call) {
  const auto key = std::pair{comm, stream};
  if (group.calls.find(key) == group.calls.end()) group.order.push_back(key);
  group.calls[key].push_back(call);
  return ncclSuccess;
}

}  // namespace

int nccl_faults() {
  return faults;
}
int communicators() {
  return open_communicators;
}

}  // namespace simulated

struct ncclComm {
  std::shared_ptr<simulated::Connection> connection;
  int ranks = 0, rank = 0;
  bool in_progress = false;  // the last call, until somebody asks
  bool finalized = false;
  std::string text;
};

namespace simulated {
namespace {

// Sends and receives are of two ranks here, and in a group.
bool is_call_of_two(ncclComm_t comm, int peer) {
  return comm->ranks == 2 && peer == 1 - comm->rank && group.depth > 0;
}

}  // namespace
}  // namespace simulated

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static int count = 0;
  std::memset(id->internal, 0, sizeof id->internal);
  std::snprintf(id->internal, 64, "simulated-nccl-%d-%d", ::getpid(), count++);
  const sockaddr_un address = simulated::address_of(*id);
  const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener, SOMAXCONN) != 0) {
    return ncclSystemError;
  }
  simulated::listeners[id->internal] = listener;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclInvalidUsage ? "invalid usage" : "an error";
}
const char* ncclGetLastError(ncclComm_t comm) {
  comm->text = comm->connection->last_error();
  return comm->text.c_str();
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  if (ranks < 2 || rank < 0 || rank >= ranks || config->blocking != 0) return ncclInvalidArgument;
  int listener = -1;
  if (rank == 0) {
    const auto found = simulated::listeners.find(id.internal);
    if (found == simulated::listeners.end()) return ncclInvalidArgument;
    listener = found->second;
    simulated::listeners.erase(found);
  }
  *comm = new ncclComm{
      std::make_shared<simulated::Connection>(ranks, rank), ranks, rank, false, false, {}};
  (*comm)->connection->open(simulated::address_of(id), listener);
  ++simulated::open_communicators;
  return ncclInProgress;
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  if (comm->connection->is_in_a_graph()) {
    simulated::fault("a communicator ends before a graph that uses it");
    return ncclInvalidUsage;
  }
  comm->finalized = comm->in_progress = true;
  return ncclInProgress;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  if (!comm->finalized || comm->in_progress) {
    simulated::fault("a communicator is destroyed that was not finalized");
    return ncclInvalidUsage;
  }
  delete comm;
  --simulated::open_communicators;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  comm->connection->abort();
  delete comm;
  --simulated::open_communicators;
  return ncclSuccess;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  *error = comm->connection->status();
  comm->in_progress = false;
  return ncclSuccess;
}
ncclResult_t ncclGroupStart() {
  ++simulated::group.depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  if (--simulated::group.depth > 0) return ncclSuccess;
  const simulated::Group ended = std::exchange(simulated::group, {});
  for (const auto& key : ended.order) {
    const auto& [comm, stream] = key;
    if (comm->in_progress || comm->connection->status() == ncclInProgress) {
      simulated::fault("a call while another one is in progress");
    }
    if (comm->connection->enqueue(stream, ended.calls.at(key), comm->connection) != cudaSuccess) {
      return ncclUnhandledCudaError;
    }
    comm->in_progress = true;
  }
  return ended.order.empty() ? ncclSuccess : ncclInProgress;
}
ncclResult_t ncclSend(const void* from, std::size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  if (!simulated::is_call_of_two(comm, peer)) return ncclInvalidArgument;
  return simulated::add(comm, stream,
                        {simulated::Kind::kSend, const_cast<void*>(from), count, type});
}
ncclResult_t ncclRecv(void* to, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  if (!simulated::is_call_of_two(comm, peer)) return ncclInvalidArgument;
  return simulated::add(comm, stream, {simulated::Kind::kReceive, to, count, type});
}
// In place, of floats.
ncclResult_t ncclAllReduce(const void* from, void* to, std::size_t count, ncclDataType_t type,
                           ncclRedOp_t operation, ncclComm_t comm, cudaStream_t stream) {
  if (from != to || type != ncclFloat32 || operation != ncclSum || simulated::group.depth == 0) {
    return ncclInvalidArgument;
  }
  return simulated::add(comm, stream, {simulated::Kind::kAddUp, to, count, type});
}

namespace stagecoach {

const NcclApi& nccl() {
  static const NcclApi api{ncclGetVersion,   ncclGetUniqueId,        ncclGetErrorString,
                           ncclGetLastError, ncclCommInitRankConfig, ncclCommFinalize,
                           ncclCommDestroy,  ncclCommAbort,          ncclCommGetAsyncError,
                           ncclGroupStart,   ncclGroupEnd,           ncclSend,
                           ncclRecv,         ncclAllReduce};
  return api;
}

}  // namespace stagecoach
