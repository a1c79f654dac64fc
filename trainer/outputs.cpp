#include "trainer/outputs.h"

#include <algorithm>
#include <exception>
#include <new>

#include "core/error.h"
#include "core/file.h"

namespace stagecoach {

void Outputs::attempt(const std::function<void()>& write) {
  try {
    write();
  } catch (const std::exception& error) {
    add_failure(message_of(error));
  }
}

std::string message_of(const std::exception& error) {
  if (const auto* own = dynamic_cast<const Error*>(&error)) return own->message();
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
    return "memory: expected enough for this run, got less; use smaller images or batches";
  }
  return error.what();
}

bool any_standard_output(const std::vector<std::filesystem::path>& files) {
  return std::ranges::any_of(files, [](const auto& file) { return is_standard_output(file); });
}

}  // namespace stagecoach
