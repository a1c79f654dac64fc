#include "core/dynamic_library.h"

#include <gtest/gtest.h>

#include <string>

#include "core/error.h"

namespace stagecoach {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(DynamicLibrary, CallsAFunctionOfTheFirstLibraryFound) {
  const DynamicLibrary library("the maths library", {"libnot_there.so.7", "libm.so.6"}, "");
  EXPECT_EQ(library.name(), "libm.so.6");
  EXPECT_EQ(library.symbol<double(double)>("cos")(0.0), 1.0);
}

TEST(DynamicLibrary, SaysWhatIsMissingAndWhatToDo) {
  try {
    const DynamicLibrary library("cuXYZ 9", {"libcuxyz.so.9", "libcuxyz.so"}, "install it");
    FAIL() << "opened a library that does not exist";
  } catch (const Error& error) {
    EXPECT_EQ(error.operation(), "cuXYZ 9");
    EXPECT_TRUE(contains(error.what(), "expected the library libcuxyz.so.9, got libcuxyz.so.9: "))
        << error.what();
    EXPECT_TRUE(contains(error.what(), "; install it (")) << error.what();
  }
}

TEST(DynamicLibrary, NamesTheMissingFunctionAndTheLibrary) {
  const DynamicLibrary library("the maths library", {"libm.so.6"}, "");
  try {
    library.symbol<void()>("no_such_function");
    FAIL() << "found a function that does not exist";
  } catch (const Error& error) {
    EXPECT_TRUE(contains(error.what(), "expected the function no_such_function in libm.so.6"))
        << error.what();
  }
}

}  // namespace
}  // namespace stagecoach
