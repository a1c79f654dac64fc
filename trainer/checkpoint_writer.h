// CheckpointWriter: writes checkpoints while the training goes on.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/worker.h"
#include "trainer/checkpoint.h"

namespace stagecoach {

class CheckpointWriter {
 public:
  // See write_checkpoint().
  CheckpointWriter(std::filesystem::path directory, std::string run, Settings settings, int keep,
                   const Processes& processes = Processes())
      : directory_(std::move(directory)),
        run_(std::move(run)),
        settings_(std::move(settings)),
        keep_(keep),
        processes_(processes) {}
  ~CheckpointWriter() { wait(); }
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Makes the snapshot's memory, which is touched then, so that no step waits for that.
  void prepare(const std::function<void(Snapshot&)>& fill) { fill(snapshot_); }
  // Whether a checkpoint is being written.
  bool busy() const { return busy_; }
  // Lets `fill` copy the state into the snapshot's memory, and writes it on a thread of its own.
  // Waits first for the one before.
  void write(const std::function<void(Snapshot&)>& fill);
  void wait() { worker_.drain(); }

  // After wait(). The step of the last one that was written, -1: none was; and what failed.
  std::int64_t written() const { return written_; }
  const std::vector<std::string>& failures() const { return failures_; }

 private:
  const std::filesystem::path directory_;
  const std::string run_;
  const Settings settings_;
  const int keep_;
  const Processes processes_;
  Snapshot snapshot_;  // the worker's while busy
  std::atomic<bool> busy_ = false;
  std::int64_t written_ = -1;
  std::vector<std::string> failures_;
  Worker worker_;  // last: it uses the members above
};

}  // namespace stagecoach
