// Values as bytes, for messages between processes of one build.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"

namespace stagecoach {

// The memory of a tensor on the host.
inline std::span<std::byte> byte_span(const Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.data), static_cast<std::size_t>(tensor.bytes())};
}

class MessageWriter {
 public:
  template <typename T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    put_bytes(&value, sizeof value);
  }
  void put(const std::string& text) {
    put(static_cast<std::int64_t>(text.size()));
    put_bytes(text.data(), text.size());
  }
  template <typename T>
  void put(const std::vector<T>& values) {
    put(static_cast<std::int64_t>(values.size()));
    if constexpr (std::is_trivially_copyable_v<T>) {
      put_bytes(values.data(), values.size() * sizeof(T));
    } else {
      for (const T& value : values) put(value);
    }
  }
  void put_bytes(const void* data, std::size_t count);
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// Reads back what a MessageWriter has packed, in its order. Throws Error when there is no more.
class MessageReader {
 public:
  explicit MessageReader(const std::vector<std::byte>& bytes) : bytes_(bytes) {}

  template <typename T>
  T get() {
    if constexpr (std::is_same_v<T, std::string>) {
      const auto count = static_cast<std::size_t>(get<std::int64_t>());
      check_left(count, 1);
      std::string text(count, '\0');
      get_bytes(text.data(), text.size());
      return text;
    } else {
      static_assert(std::is_trivially_copyable_v<T>);
      T value;
      get_bytes(&value, sizeof value);
      return value;
    }
  }
  template <typename T>
  std::vector<T> get_all() {
    std::vector<T> values;
    const auto count = static_cast<std::size_t>(get<std::int64_t>());
    if constexpr (std::is_trivially_copyable_v<T>) {
      check_left(count, sizeof(T));
      values.resize(count);
      get_bytes(values.data(), count * sizeof(T));
    } else {
      while (values.size() < count) values.push_back(get<T>());
    }
    return values;
  }
  bool empty() const { return read_ == bytes_.size(); }
  void get_bytes(void* to, std::size_t count) {
    STAGECOACH_CHECK(count <= bytes_.size() - read_, "a message",
                     fmt::format("{} more bytes", count), fmt::format("{}", bytes_.size() - read_));
    if (count > 0) std::memcpy(to, bytes_.data() + read_, count);
    read_ += count;
  }

 private:
  void check_left(std::size_t count, std::size_t size) const {
    const std::size_t left = bytes_.size() - read_;
    STAGECOACH_CHECK(count <= left / size, "a message", fmt::format("{} more bytes", count * size),
                     fmt::format("{}", left));
  }

  const std::vector<std::byte>& bytes_;
  std::size_t read_ = 0;
};

}  // namespace stagecoach
