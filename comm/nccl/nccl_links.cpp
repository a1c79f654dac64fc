#include "comm/nccl/nccl_links.h"

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

class NcclLinks;

class NcclLink final : public DeviceLink {
 public:
  NcclLink(NcclLinks& links, Device device, int rank)
      : links_(links), device_(device), rank_(rank) {}

  void exchange(std::span<const Tensor> sent, std::span<const Tensor> received,
                Stream& stream) override;

 private:
  friend class NcclLinks;
  void call_all(std::span<const Tensor> sent, std::span<const Tensor> received,
                cudaStream_t stream) const;

  NcclLinks& links_;
  const Device device_;
  const int rank_;  // in the communicator: 0 or 1
  ncclComm_t comm_ = nullptr;
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
    NcclLink& link = all_.emplace_back(*this, device_, world_.rank() < other ? 0 : 1);
    ncclUniqueId id = share_id(other, link.rank_);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    config.minCTAs = 1;
    config.maxCTAs = kBlocks;
    cuda::use(device_);
    settle("ncclCommInitRankConfig", link,
           nccl().init_rank(&link.comm_, 2, id, link.rank_, &config));
    warm_up(link, use);
    return link;
  }

  std::unique_ptr<Stream> create_stream() override { return cuda::create_urgent_stream(device_); }

  void abort() noexcept override {
    aborted_ = true;
    for (NcclLink& link : all_) {
      if (ncclComm_t comm = std::exchange(link.comm_, nullptr)) nccl().abort(comm);
    }
  }

  // What a communicator that does not block has begun, when it is done.
  void settle(const char* call, const NcclLink& link, ncclResult_t status) {
    poll(call, [&] {
      if (status == ncclInProgress) nccl().get_async_error(link.comm_, &status);
      return status != ncclInProgress;
    });
    if (status == ncclSuccess) return;
    give_way_to_the_job();
    fail(call, status, link.comm_);
  }

  void check_open() const {
    STAGECOACH_CHECK(!aborted_, "NCCL", "links that are open", "ones that were aborted");
  }

 protected:
  void check() override {
    for (const NcclLink& link : all_) {
      ncclResult_t status = ncclSuccess;
      if (link.comm_ != nullptr) nccl().get_async_error(link.comm_, &status);
      if (status == ncclSuccess || status == ncclInProgress) continue;
      give_way_to_the_job();
      fail("a send or receive", status, link.comm_);
    }
  }

 private:
  ncclUniqueId share_id(int other, int rank) {
    ncclUniqueId id{};
    const int tag = tag_of(MessageKind::kLinks);
    if (rank == 0) {
      const ncclResult_t status = nccl().get_unique_id(&id);
      if (status != ncclSuccess) fail("ncclGetUniqueId", status, nullptr);
      world_.send(other, tag, std::as_bytes(std::span(&id, 1))).wait();
    } else {
      world_.receive(other, tag, std::as_writable_bytes(std::span(&id, 1))).wait();
    }
    return id;
  }

  // NCCL connects with the first tensor, and not while a graph is captured.
  void warm_up(NcclLink& link, Use use) {
    const OwnedTensor words(row_major({2}), device_);
    const Tensor sent = words.buffer.view(row_major({1}));
    const Tensor received = words.buffer.view(row_major({1}), sizeof(float));
    std::span<const Tensor> to(&sent, 1), from(&received, 1);
    if (use == Use::kSend) from = {};
    if (use == Use::kReceive) to = {};
    link.exchange(to, from, *stream_);
    Event connected;
    stream_->record(connected);
    wait(connected);
  }

  // What the streams have to do is done. Errors are dropped: what is left is aborted.
  void close() noexcept {
    try {
      for (NcclLink& link : all_) {
        if (link.comm_ == nullptr) continue;
        settle("ncclCommFinalize", link, nccl().finalize(link.comm_));
        if (nccl().destroy(link.comm_) == ncclSuccess) link.comm_ = nullptr;
      }
    } catch (...) {
    }
  }

  const Device device_;
  const std::unique_ptr<Stream> stream_;
  std::deque<NcclLink> all_;
  bool aborted_ = false;
};

void NcclLink::call_all(std::span<const Tensor> sent, std::span<const Tensor> received,
                        cudaStream_t stream) const {
  const int other = 1 - rank_;
  for (const Tensor& tensor : sent) {
    const auto count = static_cast<std::size_t>(tensor.elements());
    const ncclResult_t status =
        nccl().send(tensor.data, count, type_of(tensor.spec.dtype), other, comm_, stream);
    if (status != ncclSuccess && status != ncclInProgress) fail("ncclSend", status, comm_);
  }
  for (const Tensor& tensor : received) {
    const auto count = static_cast<std::size_t>(tensor.elements());
    const ncclResult_t status =
        nccl().receive(tensor.data, count, type_of(tensor.spec.dtype), other, comm_, stream);
    if (status != ncclSuccess && status != ncclInProgress) fail("ncclRecv", status, comm_);
  }
}

void NcclLink::exchange(std::span<const Tensor> sent, std::span<const Tensor> received,
                        Stream& stream) {
  if (sent.empty() && received.empty()) return;
  links_.check_open();
  cuda::use(device_);
  ncclResult_t status = nccl().group_start();
  if (status != ncclSuccess) fail("ncclGroupStart", status, comm_);
  try {
    call_all(sent, received, cuda::native_stream(stream));
  } catch (...) {
    nccl().group_end();
    throw;
  }
  links_.settle("ncclGroupEnd", *this, nccl().group_end());
}

}  // namespace

std::unique_ptr<DeviceLinks> make_nccl_links(World& world, Device device,
                                             std::chrono::milliseconds patience) {
  nccl();  // what is missing is said first
  return std::make_unique<NcclLinks>(world, device, patience);
}

}  // namespace stagecoach
