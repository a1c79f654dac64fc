#include "core/dynamic_library.h"

#include <dlfcn.h>

#include <utility>

#include "core/error.h"

namespace stagecoach {
namespace {

std::string last_error() {
  const char* text = ::dlerror();
  return text != nullptr ? text : "no reason from the loader";
}

}  // namespace

DynamicLibrary::DynamicLibrary(std::string what, const std::vector<std::string>& names,
                               const std::string& hint)
    : what_(std::move(what)) {
  std::string reason;  // of the first name: the one that should be there
  for (const std::string& name : names) {
    handle_ = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    name_ = name;
    if (handle_ != nullptr) return;
    const std::string error = last_error();
    if (reason.empty()) reason = error;
  }
  throw Error(what_, fmt::format("the library {}", names.empty() ? "(no name)" : names.front()),
              reason, hint);
}

void* DynamicLibrary::address(const char* name) const {
  ::dlerror();
  void* found = ::dlsym(handle_, name);
  STAGECOACH_CHECK(found != nullptr, what_, fmt::format("the function {} in {}", name, name_),
                   last_error(), fmt::format("install a newer {}", what_));
  return found;
}

}  // namespace stagecoach
