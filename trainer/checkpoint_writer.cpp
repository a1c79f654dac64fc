#include "trainer/checkpoint_writer.h"

#include "core/error.h"
#include "core/log.h"

namespace stagecoach {

void CheckpointWriter::write(const std::function<void(Snapshot&)>& fill) {
  wait();
  fill(snapshot_);
  busy_ = true;
  worker_.enqueue([this] {
    try {
      write_checkpoint(directory_, snapshot_, run_, settings_, keep_, processes_);
      written_ = snapshot_.step;
    } catch (...) {
      failures_.push_back(message_of(std::current_exception()));
      spdlog::warn("{}: training goes on", failures_.back());
    }
    busy_ = false;
  });
}

}  // namespace stagecoach
