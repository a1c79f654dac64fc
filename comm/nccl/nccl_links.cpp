#include "comm/nccl/nccl_links.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "comm/nccl/nccl_api.h"
#include "core/cuda/runtime.h"
#include "core/error.h"

namespace stagecoach {
namespace {

[[maybe_unused]] const bool kRegistered = register_device_links(DeviceType::kCuda, make_nccl_links);

// A kernel of NCCL waits on the GPU for the other end, beside those that compute: on few
// multiprocessors.
constexpr int kBlocks = 2;

std::string text_of(ncclResult_t status, ncclComm_t comm) {
  std::string text = nccl().get_error_string(status);
  const char* more = comm == nullptr ? nullptr : nccl().get_last_error(comm);
  if (more != nullptr && *more != '\0') text += fmt::format(" ({})", more);
  return text;
}

[[noreturn]] void fail(const char* call, ncclResult_t status, ncclComm_t comm) {
  throw Error("NCCL", fmt::format("{} to succeed", call), text_of(status, comm),
              "NCCL_DEBUG=INFO in the environment says more");
}

ncclDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return ncclFloat32;
    case DType::kBF16:
      return ncclBfloat16;
    case DType::kU8:
      return ncclUint8;
    case DType::kI32:
      return ncclInt32;
  }
  throw Error("NCCL", "a type that it sends", std::string(name_of(dtype)));
}

// A communicator, and this process's number in it.
struct Communicator {
  ncclComm_t comm = nullptr;
  int rank = 0;
};

class NcclLinks;

class NcclLink final : public DeviceLink {
 public:
  NcclLink(NcclLinks& links, Communicator& own) : links_(links), own_(own) {}
  void exchange(std::span<const Tensor> sent, std::span<const Tensor> received,
                Stream& stream) override;

 private:
  NcclLinks& links_;
  Communicator& own_;  // of two
};

class NcclGroup final : public DeviceGroup {
 public:
  NcclGroup(NcclLinks& links, Communicator& own) : links_(links), own_(own) {}
  void add_up(const Tensor& values, Stream& stream) override;

 private:
  NcclLinks& links_;
  Communicator& own_;
};

class NcclLinks final : public DeviceLinks {
 public:
  NcclLinks(World& world, Device device, std::chrono::milliseconds patience)
      : DeviceLinks(world, patience), device_(device), stream_(create_stream()) {}
  ~NcclLinks() override {
    if (!aborted_ && !world_.is_aborted()) close();
    abort();
  }

  DeviceLink& connect(int other, Use use) override {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.minCTAs = 1;
    config.maxCTAs = kBlocks;
    const int own = world_.rank();
    NcclLink& link =
        links_.emplace_back(*this, open({std::min(own, other), std::max(own, other)}, config));
    warm_up([&](const Tensor& word, const Tensor& other_word) {
      std::span<const Tensor> to(&word, 1), from(&other_word, 1);
      if (use == Use::kSend) from = {};
      if (use == Use::kReceive) to = {};
      link.exchange(to, from, *stream_);
    });
    return link;
  }

  // As NCCL itself sees fit, as it is compared with.
  DeviceGroup& make_group(const std::vector<int>& processes) override {
    NcclGroup& group = groups_.emplace_back(*this, open(processes, NCCL_CONFIG_INITIALIZER));
    warm_up([&](const Tensor& word, const Tensor&) { group.add_up(word, *stream_); });
    return group;
  }

  std::unique_ptr<Stream> create_stream() override { return cuda::create_urgent_stream(device_); }

  void abort() noexcept override {
    aborted_ = true;
    for (Communicator& each : communicators_) {
      if (ncclComm_t comm = std::exchange(each.comm, nullptr)) nccl().abort(comm);
    }
  }

  // What `calls` call on the communicator is one piece of work.
  template <typename Calls>
  void enqueue(const Communicator& on, const Calls& calls) {
    STAGECOACH_CHECK(!aborted_, "NCCL", "links that are open", "ones that were aborted");
    cuda::use(device_);
    const ncclResult_t status = nccl().group_start();
    if (status != ncclSuccess) fail("ncclGroupStart", status, on.comm);
    try {
      calls();
    } catch (...) {
      nccl().group_end();
      throw;
    }
    settle("ncclGroupEnd", on, nccl().group_end());
  }

 protected:
  void check() override {
    for (const Communicator& each : communicators_) {
      ncclResult_t status = ncclSuccess;
      if (each.comm != nullptr) nccl().get_async_error(each.comm, &status);
      if (status == ncclSuccess || status == ncclInProgress) continue;
      give_way_to_the_job();
      fail("a send, receive or sum", status, each.comm);
    }
  }

 private:
  Communicator& open(const std::vector<int>& processes, ncclConfig_t config) {
    Communicator& own = communicators_.emplace_back();
    own.rank = static_cast<int>(std::ranges::find(processes, world_.rank()) - processes.begin());
    const ncclUniqueId id = share_id(processes);
    config.blocking = 0;
    cuda::use(device_);
    settle("ncclCommInitRankConfig", own,
           nccl().init_rank(&own.comm, static_cast<int>(processes.size()), id, own.rank, &config));
    return own;
  }

  ncclUniqueId share_id(const std::vector<int>& processes) {
    ncclUniqueId id{};
    constexpr int kTag = tag_of(MessageKind::kLinks);
    if (processes[0] != world_.rank()) {
      world_.receive(processes[0], kTag, std::as_writable_bytes(std::span(&id, 1))).wait();
      return id;
    }
    const ncclResult_t status = nccl().get_unique_id(&id);
    if (status != ncclSuccess) fail("ncclGetUniqueId", status, nullptr);
    for (std::size_t i = 1; i < processes.size(); ++i) {
      world_.send(processes[i], kTag, std::as_bytes(std::span(&id, 1))).wait();
    }
    return id;
  }

  // What a communicator that does not block has begun, when it is done.
  void settle(const char* call, const Communicator& on, ncclResult_t status) {
    poll(call, [&] {
      if (status == ncclInProgress) nccl().get_async_error(on.comm, &status);
      return status != ncclInProgress;
    });
    if (status == ncclSuccess) return;
    give_way_to_the_job();
    fail(call, status, on.comm);
  }

  // NCCL connects with the first tensor, and not while a graph is captured.
  template <typename Enqueue>
  void warm_up(const Enqueue& enqueue) {
    const OwnedTensor words(row_major({2}), device_);
    enqueue(rows_of(words.tensor, 0, 1), rows_of(words.tensor, 1, 1));
    Event connected;
    stream_->record(connected);
    wait(connected);
  }

  // What the streams have to do is done. Errors are dropped: what is left is aborted.
  void close() noexcept {
    try {
      for (Communicator& each : communicators_) {
        if (each.comm == nullptr) continue;
        settle("ncclCommFinalize", each, nccl().finalize(each.comm));
        if (nccl().destroy(each.comm) == ncclSuccess) each.comm = nullptr;
      }
    } catch (...) {
    }
  }

  const Device device_;
  const std::unique_ptr<Stream> stream_;
  std::deque<Communicator> communicators_;
  std::deque<NcclLink> links_;
  std::deque<NcclGroup> groups_;
  bool aborted_ = false;
};

std::size_t count_of(const Tensor& tensor) {
  return static_cast<std::size_t>(tensor.elements());
}

// Of a call in a group.
void check_call(const char* call, ncclResult_t status, ncclComm_t comm) {
  if (status != ncclSuccess && status != ncclInProgress) fail(call, status, comm);
}

void NcclLink::exchange(std::span<const Tensor> sent, std::span<const Tensor> received,
                        Stream& stream) {
  if (sent.empty() && received.empty()) return;
  links_.enqueue(own_, [&] {
    const int other = 1 - own_.rank;
    cudaStream_t const on = cuda::native_stream(stream);
    for (const Tensor& tensor : sent) {
      check_call("ncclSend",
                 nccl().send(tensor.data, count_of(tensor), type_of(tensor.spec.dtype), other,
                             own_.comm, on),
                 own_.comm);
    }
    for (const Tensor& tensor : received) {
      check_call("ncclRecv",
                 nccl().receive(tensor.data, count_of(tensor), type_of(tensor.spec.dtype), other,
                                own_.comm, on),
                 own_.comm);
    }
  });
}

void NcclGroup::add_up(const Tensor& values, Stream& stream) {
  auto* const data = values.as<float>();
  links_.enqueue(own_, [&] {
    check_call("ncclAllReduce",
               nccl().all_reduce(data, data, count_of(values), ncclFloat32, ncclSum, own_.comm,
                                 cuda::native_stream(stream)),
               own_.comm);
  });
}

}  // namespace

std::unique_ptr<DeviceLinks> make_nccl_links(World& world, Device device,
                                             std::chrono::milliseconds patience) {
  nccl();  // what is missing is said first
  return std::make_unique<NcclLinks>(world, device, patience);
}

}  // namespace stagecoach
