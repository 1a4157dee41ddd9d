#include "snowmelt/lowest_failure.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace snowmelt {
namespace {

std::exception_ptr value_error(const std::string& code) { return std::make_exception_ptr(ValueError(code, "")); }
std::exception_ptr lost() { return std::make_exception_ptr(ConnectionError("lost", "")); }

std::string told(const LowestFailure& failure) {
  try {
    std::rethrow_exception(failure.error());
  } catch (const Error& error) {
    return error.code();
  } catch (const std::exception& error) {
    return error.what();
  }
}

TEST(LowestFailure, of_value_errors_the_lowest_is_told_whatever_their_order) {
  LowestFailure failure;
  EXPECT_FALSE(failure);
  EXPECT_TRUE(failure.matters(1'000));
  EXPECT_TRUE(failure.add(value_error("seven"), 7));
  EXPECT_TRUE(failure.matters(6));
  EXPECT_FALSE(failure.matters(7));
  EXPECT_FALSE(failure.add(value_error("nine"), 9));
  EXPECT_TRUE(failure.add(value_error("three"), 3));
  EXPECT_FALSE(failure.matters(6));
  EXPECT_FALSE(failure.ends_all());
  EXPECT_EQ(failure.place(), 3);
  EXPECT_EQ(told(failure), "three");
}

TEST(LowestFailure, another_kind_ends_all_and_stays) {
  for (const auto& other : {lost(), std::make_exception_ptr(std::runtime_error("lost"))}) {
    LowestFailure failure;
    EXPECT_TRUE(failure.add(other, 5));
    EXPECT_TRUE(failure.ends_all());
    EXPECT_FALSE(failure.matters(1));
    EXPECT_FALSE(failure.add(value_error("one"), 1));
    EXPECT_EQ(told(failure), "lost");
  }
}

TEST(LowestFailure, another_kind_counts_below_a_value_error_and_not_above) {
  LowestFailure failure;
  failure.add(value_error("seven"), 7);
  EXPECT_FALSE(failure.add(lost(), 8)) << "a chunk that was given up";
  EXPECT_FALSE(failure.ends_all());
  EXPECT_TRUE(failure.add(lost(), 6));
  EXPECT_TRUE(failure.ends_all());
  LowestFailure stopped;
  stopped.add(value_error("zero"), 0);
  EXPECT_TRUE(stopped.add(lost(), LowestFailure::kNowhere));
  EXPECT_TRUE(stopped.ends_all());
}

}  // namespace
}  // namespace snowmelt
