// A shared library that is looked for when first needed, so that the program also starts where it
// is not installed.
#pragma once

#include <string>
#include <vector>

namespace stagecoach {

// Stays open until the process ends: at exit, other libraries may still call into it.
class DynamicLibrary {
 public:
  // Opens the first of `names` ("libcudnn.so.9", or a path) that the loader finds. Throws Error
  // when there is none, naming `what` ("cuDNN") and the first of them, with `hint`.
  DynamicLibrary(std::string what, const std::vector<std::string>& names, const std::string& hint);

  // The function `name` of type F; throws Error when the library has none.
  template <typename F>
  F* symbol(const char* name) const {
    return reinterpret_cast<F*>(address(name));
  }

  // The name that was found.
  const std::string& name() const { return name_; }

 private:
  void* address(const char* name) const;

  std::string what_;
  std::string name_;
  void* handle_ = nullptr;
};

}  // namespace stagecoach
