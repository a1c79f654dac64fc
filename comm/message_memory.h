// Whose the memory of messages is, at both ends of a channel that copies them. Nothing here is
// locked.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "core/error.h"
#include "core/stream.h"
#include "core/tensor.h"

namespace stagecoach {

// Of what was sent: the memory of a message is free when it is gone, as the receiver has its own.
class SentMessages {
 public:
  // Message `micro` is gone when `stream` reaches this point.
  void record(std::int64_t micro, Stream& stream) { stream.record(gone_[micro]); }
  // `stream` goes on when it is gone. Error when it was not sent.
  void wait(std::int64_t micro, Stream& stream) const {
    const auto found = gone_.find(micro);
    STAGECOACH_CHECK(found != gone_.end(), "a send",
                     fmt::format("one of micro-batch {} before its memory is used again", micro),
                     "none");
    stream.wait(found->second);
  }
  void clear() { gone_.clear(); }

 private:
  std::map<std::int64_t, Event> gone_;  // by micro-batch
};

// Receives that were posted. `Message` has the `tensors` that it is copied to.
template <typename Message>
class PostedReceives {
 public:
  struct Posted {
    Message& message;
    std::vector<const Message*> users;  // the messages that had its memory last
  };
  // Error for a message that is posted already.
  Posted post(std::int64_t micro, std::span<const Tensor> tensors) {
    const auto [found, is_new] = messages_.try_emplace(micro);
    STAGECOACH_CHECK(is_new, "a receive", fmt::format("one of micro-batch {}", micro),
                     "a second one");
    Posted posted{found->second, {}};
    posted.message.tensors.assign(tensors.begin(), tensors.end());
    for (const Tensor& tensor : tensors) {
      const Message*& user = user_of_[tensor.data];
      if (user != nullptr) posted.users.push_back(user);
      user = &posted.message;
    }
    return posted;
  }
  // Error for a message that is not posted. It stays where it is until clear().
  Message& at(std::int64_t micro) {
    Message* message = find(micro);
    STAGECOACH_CHECK(message != nullptr, "a receive",
                     fmt::format("one that was posted, of micro-batch {}", micro), "none");
    return *message;
  }
  Message* find(std::int64_t micro) {  // null: not posted
    const auto found = messages_.find(micro);
    return found == messages_.end() ? nullptr : &found->second;
  }
  void clear() {
    messages_.clear();
    user_of_.clear();
  }

 private:
  std::map<std::int64_t, Message> messages_;       // by micro-batch
  std::map<const void*, const Message*> user_of_;  // memory: the message that had it last
};

}  // namespace stagecoach
