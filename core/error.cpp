#include "core/error.h"

#include <filesystem>
#include <memory>
#include <new>
#include <utility>

namespace stagecoach {
namespace {

std::string compose(const std::string& operation, const std::string& expected,
                    const std::string& got, const std::string& hint) {
  std::string text = fmt::format("{}: expected {}, got {}", operation, expected, got);
  return hint.empty() ? text : text + "; " + hint;
}

std::string with_place(const std::string& message, const std::source_location& place) {
  return fmt::format("{} ({}:{})", message,
                     std::filesystem::path(place.file_name()).filename().string(), place.line());
}

class BadAllocAt : public std::bad_alloc {
 public:
  explicit BadAllocAt(std::string text)
      : text_(std::make_shared<const std::string>(std::move(text))) {}
  const char* what() const noexcept override { return text_->c_str(); }

 private:
  std::shared_ptr<const std::string> text_;  // shared: copying an exception must not throw
};

template <typename E>
std::exception_ptr copy_at(E error, const std::string& where) {
  error.add_where(where);
  return std::make_exception_ptr(std::move(error));
}

}  // namespace

Error::Error(std::string operation, std::string expected, std::string got, std::string hint,
             std::source_location place)
    // Not moved: the order in which the arguments are evaluated is open.
    : Error(compose(operation, expected, got, hint), operation, place) {}

Error::Error(std::string message, std::string operation, std::source_location place)
    : std::runtime_error(with_place(message, place)),
      message_(std::move(message)),
      operation_(std::move(operation)),
      place_(place) {}

void Error::add_where(const std::string& where) {
  message_ = where + ": " + message_;
  static_cast<std::runtime_error&>(*this) = std::runtime_error(with_place(message_, place_));
}

std::exception_ptr with_where(const std::exception_ptr& error, const std::string& where) {
  try {
    std::rethrow_exception(error);
  } catch (const UsageError& known) {
    return copy_at(known, where);
  } catch (const NumericError& known) {
    return copy_at(known, where);
  } catch (const PeerError&) {
    return error;
  } catch (const Error& known) {
    return copy_at(known, where);
  } catch (const std::bad_alloc& other) {
    return std::make_exception_ptr(BadAllocAt(fmt::format("{}: {}", where, other.what())));
  } catch (const std::exception& other) {
    return std::make_exception_ptr(Error(where, "no failure", other.what()));
  } catch (...) {
    return error;
  }
}

std::string message_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& known) {
    return known.message();
  } catch (const std::bad_alloc&) {
    return "memory: expected enough for this run, got less; use smaller images or batches";
  } catch (const std::exception& other) {
    return other.what();
  } catch (...) {
    return "an unknown error";
  }
}

}  // namespace stagecoach
