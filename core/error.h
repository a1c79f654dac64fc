// Errors: every message holds the operation, what was expected, what was given, and where.
#pragma once

#include <fmt/format.h>

#include <exception>
#include <source_location>
#include <stdexcept>
#include <string>

namespace stagecoach {

// Base of every error that Stagecoach throws. `what()` reads
// "OPERATION: expected EXPECTED, got GOT; HINT (file:line)"; HINT is left out when empty.
class Error : public std::runtime_error {
 public:
  Error(std::string operation, std::string expected, std::string got, std::string hint = "",
        std::source_location place = std::source_location::current());

  // `what()` without the "(file:line)" at its end.
  const std::string& message() const { return message_; }
  const std::string& operation() const { return operation_; }
  const std::source_location& place() const { return place_; }  // where it was thrown first

  // Puts "WHERE: " in front of the message.
  void add_where(const std::string& where);

 private:
  Error(std::string message, std::string operation, std::source_location place);
  std::string message_;
  std::string operation_;
  std::source_location place_;
};

// The user asked for something impossible (option, value, combination): exit code 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

// A training step produced NaN or infinity.
class NumericError : public Error {
 public:
  using Error::Error;
};

// Another process of the same job has failed. Where it was noticed does not matter: with_where()
// adds nothing.
class PeerError : public Error {
 public:
  using Error::Error;
};

// A copy of `error` whose text begins with `where`, of the same type and with the same place: an
// Error, UsageError or NumericError, or a std::bad_alloc. Other kinds of std::exception become an
// Error; a PeerError, and what is no std::exception, are returned as they are. The original stays
// as it is: other threads may hold it.
std::exception_ptr with_where(const std::exception_ptr& error, const std::string& where);

// Its message for people, without the place in the source.
std::string message_of(const std::exception_ptr& error);

}  // namespace stagecoach

// Throws Error unless `condition`. The last arguments are evaluated only on failure.
// STAGECOACH_CHECK(x.rank() == 4, "conv2d", "input of rank 4", fmt::format("rank {}", x.rank()));
#define STAGECOACH_CHECK(condition, ...)      \
  do {                                        \
    if (!(condition)) [[unlikely]] {          \
      throw ::stagecoach::Error(__VA_ARGS__); \
    }                                         \
  } while (false)
