#include "core/error.h"

#include <gtest/gtest.h>

#include <new>
#include <stdexcept>
#include <string>
#include <typeinfo>

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

// What with_where() makes of an E.
template <typename E>
E located(const E& error) {
  try {
    std::rethrow_exception(with_where(std::make_exception_ptr(error), "rank 3"));
  } catch (const E& known) {
    EXPECT_EQ(typeid(known), typeid(E));
    return known;
  }
}

template <typename E>
void expect_kept() {
  const E error("op", "a", "b");
  const E moved = located(error);
  EXPECT_EQ(moved.message(), "rank 3: op: expected a, got b");
  EXPECT_EQ(moved.operation(), "op");
  EXPECT_EQ(moved.place().line(), error.place().line());
  EXPECT_EQ(std::string(moved.what()), "rank 3: " + std::string(error.what()));
}

TEST(WithWhere, KeepsTheTypeAndThePlace) {
  expect_kept<Error>();
  expect_kept<UsageError>();
  expect_kept<NumericError>();
}

TEST(WithWhere, LeavesTheOriginalAsItIs) {
  const auto original = std::make_exception_ptr(Error("op", "a", "b"));
  with_where(original, "rank 3");
  try {
    std::rethrow_exception(original);
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "op: expected a, got b");
  }
}

TEST(WithWhere, OfAnotherLibrarysErrorMakesAnError) {
  const auto where_of = [](const auto& error) {
    return with_where(std::make_exception_ptr(error), "rank 3");
  };
  try {
    std::rethrow_exception(where_of(std::bad_alloc()));
  } catch (const std::bad_alloc& error) {
    EXPECT_EQ(std::string(error.what()), "rank 3: " + std::string(std::bad_alloc().what()));
  }
  try {
    std::rethrow_exception(where_of(std::out_of_range("an index")));
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "rank 3: expected no failure, got an index");
  }
  EXPECT_THROW(std::rethrow_exception(where_of(7)), int);
}

TEST(Error, MessagesAreForPeople) {
  const auto text = [](const auto& error) { return message_of(std::make_exception_ptr(error)); };
  EXPECT_EQ(text(UsageError("op", "a", "b", "c")), "op: expected a, got b; c");
  EXPECT_EQ(text(std::bad_alloc()).substr(0, 23), "memory: expected enough");
  EXPECT_EQ(text(std::out_of_range("an index")), "an index");
  EXPECT_EQ(text(7), "an unknown error");
}

// What is said elsewhere needs no place.
TEST(Error, APeersErrorStaysAsItIs) {
  const auto error = std::make_exception_ptr(PeerError("process 3", "no failure", "one"));
  EXPECT_EQ(message_of(with_where(error, "rank 1")), "process 3: expected no failure, got one");
  EXPECT_THROW(std::rethrow_exception(with_where(error, "rank 1")), PeerError);
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
