// Checks that the tests of several kernels share.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "core/error.h"
#include "kernels/cpu/instruction_set.h"

namespace stagecoach::testing {

// The message of the Error that body() throws must hold all `parts`.
template <typename Body>
void expect_error(const Body& body, std::initializer_list<const char*> parts) {
  try {
    body();
  } catch (const Error& error) {
    for (const char* part : parts) {
      EXPECT_NE(error.message().find(part), std::string::npos)
          << "no \"" << part << "\" in: " << error.message();
    }
    return;
  }
  ADD_FAILURE() << "no Error; expected one with \"" << *parts.begin() << "\"";
}

// Calls body(name) with each instruction set of this processor in use.
template <typename Body>
void for_each_instruction_set(const Body& body) {
  for (const std::string& name : cpu::instruction_sets()) {
    cpu::use_instruction_set(name);
    body(name);
  }
  cpu::use_instruction_set("");
}

// run(threads) returns the bytes of a result: the same for 1 to 4 threads, with each instruction
// set.
template <typename Run>
void expect_same_bytes_everywhere(const Run& run) {
  const std::vector<std::uint8_t> expected = run(1);
  ASSERT_FALSE(expected.empty());
  for_each_instruction_set([&](const std::string& name) {
    for (int threads = 1; threads <= 4; ++threads) {
      EXPECT_EQ(run(threads), expected) << name << ", " << threads << " threads";
    }
  });
}

}  // namespace stagecoach::testing
