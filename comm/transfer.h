// Transfer: bytes that are on their way to another process, or from it.
#pragma once

#include <exception>
#include <memory>
#include <vector>

namespace stagecoach {

// Cheap to copy: copies are the same transfer. Its bytes stay where they are until it has ended.
class Transfer {
 public:
  Transfer();
  // Blocks until it has ended; throws its error.
  void wait() const;
  bool has_ended() const;

  // Of the transport. `error` null: all bytes are gone, or there. The first call counts.
  void end(const std::exception_ptr& error = nullptr) const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Blocks until all have ended, then throws the first one's error.
void wait_for_all(const std::vector<Transfer>& transfers);

}  // namespace stagecoach
