#include "core/error.h"

#include <gtest/gtest.h>

namespace stagecoach {
namespace {

TEST(Error, MessageHoldsEveryPart) {
  const Error error("conv2d", "rank 4", "rank 2", "flatten comes later");
  EXPECT_EQ(error.message(), "conv2d: expected rank 4, got rank 2; flatten comes later");
  EXPECT_EQ(error.operation(), "conv2d");
}

TEST(Error, HintIsLeftOutWhenEmpty) {
  EXPECT_EQ(Error("op", "a", "b").message(), "op: expected a, got b");
}

TEST(Error, WhatEndsWithThePlace) {
  const int line = __LINE__ + 1;
  const Error error("op", "a", "b");
  EXPECT_EQ(std::string(error.what()),
            "op: expected a, got b (error_test.cpp:" + std::to_string(line) + ")");
}

TEST(Error, KindsAreErrors) {
  EXPECT_THROW(throw UsageError("op", "a", "b"), Error);
  EXPECT_THROW(throw NumericError("op", "a", "b"), Error);
  EXPECT_THROW(throw Error("op", "a", "b"), std::runtime_error);
}

TEST(Check, EvaluatesItsTextOnlyOnFailure) {
  int evaluated = 0;
  const auto text = [&evaluated] {
    ++evaluated;
    return std::string("text");
  };
  STAGECOACH_CHECK(true, "op", text(), text());
  EXPECT_EQ(evaluated, 0);
  EXPECT_THROW(STAGECOACH_CHECK(false, "op", text(), text()), Error);
  EXPECT_EQ(evaluated, 2);
}

}  // namespace
}  // namespace stagecoach
