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
    // Not moved: the order in which the arguments are evaluated is open.
    : Error(compose(operation, expected, got, hint), operation, place) {}

Error::Error(std::string message, std::string operation, std::source_location place)
    : std::runtime_error(fmt::format("{} ({}:{})", message,
                                     std::filesystem::path(place.file_name()).filename().string(),
                                     place.line())),
      message_(std::move(message)),
      operation_(std::move(operation)) {}

}  // namespace stagecoach
