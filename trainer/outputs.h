// Outputs: the files that a command writes. Each is written on its own: one that fails costs none
// of the others.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace stagecoach {

class Outputs {
 public:
  // Calls `write`; what it throws becomes a failure.
  void attempt(const std::function<void()>& write);
  // The same of a file, unless `file` is empty: no output was asked for.
  template <typename Write>
  void write(const std::filesystem::path& file, const Write& how) {
    if (!file.empty()) attempt([&] { how(file); });
  }
  void add_failure(const std::string& message) { failures_.push_back(message); }

  // What did not work, for people; the first came first.
  const std::vector<std::string>& failures() const { return failures_; }

 private:
  std::vector<std::string> failures_;
};

// Whether one of the files (empty ones are none) is the standard output: what is printed for people
// then goes elsewhere.
bool any_standard_output(const std::vector<std::filesystem::path>& files);

}  // namespace stagecoach
