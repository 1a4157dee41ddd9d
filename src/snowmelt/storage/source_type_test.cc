#include "snowmelt/storage/source_type.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

TEST(SourceType, ComesBackAsItIsWritten) {
  const char* const texts[] = {"",
                               "NUMBER(38,0)",
                               "NUMBER(12,2)",
                               "NUMBER(1,1)",
                               "FLOAT",
                               "DECFLOAT",
                               "TEXT",
                               "BOOLEAN",
                               "BINARY",
                               "DATE",
                               "TIME(0)",
                               "TIME(9)",
                               "TIMESTAMP_NTZ(9)",
                               "TIMESTAMP_LTZ(3)",
                               "TIMESTAMP_TZ(0)",
                               "VARIANT",
                               "OBJECT",
                               "ARRAY",
                               "MAP",
                               "GEOGRAPHY",
                               "GEOMETRY",
                               "VECTOR",
                               "VECTOR(FLOAT,3)",
                               "VECTOR(INT,16000)",
                               "UUID",
                               "ENUM",
                               "INTERVAL",
                               "INTERVAL_DAY_TIME",
                               "INTERVAL_YEAR_MONTH"};
  for (const char* text : texts) {
    const auto type = SourceType::parse(text);
    ASSERT_TRUE(type.has_value()) << text;
    EXPECT_EQ(type->text(), text);
  }
  EXPECT_EQ(SourceType::number(12, 2).text(), "NUMBER(12,2)");
  EXPECT_EQ(SourceType::with_digits(SourceWord::timestamp_tz, 3).text(), "TIMESTAMP_TZ(3)");
  EXPECT_EQ(SourceType::vector(true, 4096).text(), "VECTOR(INT,4096)");
  EXPECT_EQ(SourceType::of(SourceWord::vector).text(), "VECTOR");
  constexpr SourceType kLiteral = "VECTOR(FLOAT,3)";
  static_assert(kLiteral.is(SourceWord::vector) && kLiteral.dimension() == 3);
}

TEST(SourceType, RefusesAllElse) {
  const std::string texts[] = {
      "VECTOR(FLOAT,3) check (pg_catalog.pg_sleep(9) is null)",
      "VECTOR(FLOAT,3) check (true)",
      "VECTOR(FLOAT,3))",
      "VECTOR(FLOAT,3",
      "VECTOR(FLOAT,)",
      "VECTOR(FLOAT,0)",
      "VECTOR(FLOAT,16001)",
      "VECTOR(FLOAT,-1)",
      "VECTOR(FLOAT,03)",
      "VECTOR(FLOAT, 3)",
      "VECTOR(float,3)",
      "VECTOR(TEXT,3)",
      "VECTOR(3)",
      "VECTOR()",
      "VECTOR(FLOAT,3,3)",
      "NUMBER",
      "NUMBER()",
      "NUMBER(12)",
      "NUMBER(0,0)",
      "NUMBER(39,0)",
      "NUMBER(5,6)",
      "NUMBER(5,-1)",
      "NUMBER(99999999999999999999,0)",
      "NUMBER(12,2) ",
      " NUMBER(12,2)",
      "NUMBER(12,2)) primary key",
      "TIME",
      "TIME(10)",
      "TIMESTAMP_NTZ",
      "TIMESTAMP(6)",
      "TEXT(10)",
      "TEXT()",
      "TEXT; drop table t",
      "text",
      "ENUM\n",
      "INTERVAL--",
      "(3)",
      " ",
      "TYPE D32",
      std::string("TEXT\0", 5),
  };
  for (const std::string& text : texts) EXPECT_FALSE(SourceType::parse(text).has_value()) << text;
}

// Whatever stands behind or inside a type that is right.
TEST(SourceType, RefusesEveryByteTooMany) {
  for (const std::string good : {"NUMBER(12,2)", "TIME(6)", "VECTOR(INT,12)", "TEXT"}) {
    for (size_t at = 0; at <= good.size(); ++at) {
      for (int byte = 0; byte < 256; ++byte) {
        std::string text = good;
        text.insert(at, 1, static_cast<char>(byte));
        const auto type = SourceType::parse(text);
        if (!type) continue;
        EXPECT_EQ(type->text(), text);  // VECTOR(INT,123) is one more
      }
    }
  }
}

TEST(SourceType, PartsOutOfBoundsAreABug) {
  EXPECT_THROW(SourceType::number(39, 0), BugError);
  EXPECT_THROW(SourceType::with_digits(SourceWord::text, 3), BugError);
  EXPECT_THROW(SourceType::vector(false, 0), BugError);
  EXPECT_THROW(SourceType::of(SourceWord::number), BugError);
}

TEST(SourceType, ARefusalShowsAShortText) {
  EXPECT_EQ(unknown_source_type("A", "x"), "column A has the source type \"x\", which snowmelt does not write");
  EXPECT_LT(unknown_source_type("A", std::string(10'000, 'x')).size(), 200u);
}

}  // namespace
}  // namespace snowmelt
