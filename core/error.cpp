#include "core/error.h"

#include <filesystem>

namespace stagecoach {
namespace {

std::string compose(const std::string& operation, const std::string& expected,
                    const std::string& got, const std::string& hint) {
  std::string text = fmt::format("{}: expected {}, got {}", operation, expected, got);
  return hint.empty() ? text : text + "; " + hint;
}

}  // namespace

Error::Error(std::string operation, std::string expected, std::string got, std::string hint,
             std::source_location place)
    : Error(compose(operation, expected, got, hint), std::move(operation), place) {}

Error::Error(std::string message, std::string operation, std::source_location place)
    : std::runtime_error(fmt::format(
          "{} ({}:{})", message, std::filesystem::path(place.file_name()).filename().string(),
          place.line())),
      message_(std::move(message)),
      operation_(std::move(operation)) {}

}  // namespace stagecoach
