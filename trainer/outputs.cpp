#include "trainer/outputs.h"

#include <algorithm>
#include <exception>

#include "core/error.h"
#include "core/file.h"

namespace stagecoach {

void Outputs::attempt(const std::function<void()>& write) {
  try {
    write();
  } catch (...) {
    add_failure(message_of(std::current_exception()));
  }
}

bool any_standard_output(const std::vector<std::filesystem::path>& files) {
  return std::ranges::any_of(files, [](const auto& file) { return is_standard_output(file); });
}

}  // namespace stagecoach
