// DeviceLinks: how the processes of a job hand each other the memory of their devices, as work of
// these devices. What a transport for a kind of device must give; NCCL is one (comm/nccl). It
// registers itself where it is linked, as core/device_backend.h has it.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <vector>

#include "comm/world.h"
#include "core/stream.h"
#include "core/tensor.h"

namespace stagecoach {

// Between this process and one other.
class DeviceLink {
 public:
  virtual ~DeviceLink() = default;
  // Enqueues on `stream`, as one piece of work: `sent` go to the other process, `received` come
  // from there. The n-th tensor that one end sends is the n-th that the other receives, with the
  // same elements; the work ends when all of them are gone and there. What one link does, on
  // whichever stream, follows its earlier calls. A send may last until the other end receives.
  // Both ends enqueue it, or both capture it. Throws Error.
  virtual void exchange(std::span<const Tensor> sent, std::span<const Tensor> received,
                        Stream& stream) = 0;
};

// Between this process and several others.
class DeviceGroup {
 public:
  virtual ~DeviceGroup() = default;
  // Enqueues on `stream`: `values`, F32, become the sums of what all processes of the group have
  // there, in whatever order the transport adds: to compare with, as nobody promises their bits.
  // All of them have the same elements; what one group does, on whichever stream, follows its
  // earlier calls. All enqueue it, or all capture it. Throws Error.
  virtual void add_up(const Tensor& values, Stream& stream) = 0;
};

class DeviceLinks {
 public:
  // How long a wait lasts at most: longer than any step.
  static constexpr std::chrono::milliseconds kPatience = std::chrono::minutes(10);

  virtual ~DeviceLinks() = default;

  // What may go along a link: the other way, nothing is connected.
  enum class Use : std::uint8_t { kSend, kReceive, kBoth };
  // A link to process `other`, which makes its end of it too: all processes make theirs in one
  // order. Lives as long as this. When it returns, both ends are connected. Throws Error.
  virtual DeviceLink& connect(int other, Use use) = 0;
  // A group of `processes`, this one among them, in one order everywhere; else as connect().
  virtual DeviceGroup& make_group(const std::vector<int>& processes) = 0;
  // A stream of the device for what links do: its work comes before what else is ready to run.
  virtual std::unique_ptr<Stream> create_stream() = 0;

  // Blocks until the event is reached. When the job or a link fails meanwhile, or `patience` is
  // over, aborts all links and throws what has happened: of the job, its first error.
  void wait(const Event& event);
  // Ends what links and groups do, now and later, on this process's device. Does not throw.
  virtual void abort() noexcept = 0;

 protected:
  DeviceLinks(World& world, std::chrono::milliseconds patience)
      : world_(world), patience_(patience) {}
  // Throws the error of a link that has failed.
  virtual void check() = 0;
  // Calls `ready` until it is true; throws as wait() does, without aborting.
  template <typename Ready>
  void poll(const char* operation, const Ready& ready) {
    const Clock::time_point deadline = Clock::now() + patience_;
    while (!ready()) pause(operation, deadline);
  }
  // What the job was aborted with, if it is within a second; else nothing. For errors of a link:
  // when a process is gone, that is what others see of it.
  void give_way_to_the_job();

  World& world_;

 private:
  void pause(const char* operation, Clock::time_point deadline) const;
  void check_job() const;

  const std::chrono::milliseconds patience_;
};

// `world`, which outlives them, has a process for each device that is linked; `device`: of this
// one. Throws Error where no transport for its kind is in this program, or cannot be had.
std::unique_ptr<DeviceLinks> make_device_links(
    World& world, Device device, std::chrono::milliseconds patience = DeviceLinks::kPatience);

using MakeDeviceLinks = std::unique_ptr<DeviceLinks> (*)(World& world, Device device,
                                                         std::chrono::milliseconds patience);
// For static initialisation. Returns true.
bool register_device_links(DeviceType type, MakeDeviceLinks make);

}  // namespace stagecoach
