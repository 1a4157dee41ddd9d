#include "snowmelt/postgres_type.h"

#include <gtest/gtest.h>

#include <utility>

namespace snowmelt {
namespace {

TEST(PostgresType, IsBuiltAnewFromItsParts) {
  const std::pair<const char*, const char*> cases[] = {
      {"text", "text"},
      {"TEXT", "text"},
      {" varchar ( 20 ) ", "varchar(20)"},
      {"numeric(10,2)", "numeric(10,2)"},
      {"NUMERIC (10 , 2)", "numeric(10,2)"},
      {"numeric(5,-2)", "numeric(5,-2)"},
      {"double  precision", "double precision"},
      {"character varying(20)", "character varying(20)"},
      {"char varying", "character varying"},
      {"character(3)", "character(3)"},
      {"bit varying(8)", "bit varying(8)"},
      {"time", "time"},
      {"time(3)", "time(3)"},
      {"Time(3) With Time Zone", "time(3) with time zone"},
      {"timestamp without time zone", "timestamp without time zone"},
      {"timestamp(6) with time zone[]", "timestamp(6) with time zone[]"},
      {"timestamptz", "timestamptz"},
      {"interval", "interval"},
      {"interval(3)", "interval(3)"},
      {"interval year to month", "interval year to month"},
      {"interval day to second(3)", "interval day to second(3)"},
      {"interval minute", "interval minute"},
      {"text[]", "text[]"},
      {"numeric(10,2) [ ]", "numeric(10,2)[]"},
      {"public.mood", "public.mood"},
      {"My_Schema.Mood[]", "my_schema.mood[]"},
      {"\"Odd \"\" schema\".\"My type\"(3)", "\"Odd \"\" schema\".\"My type\"(3)"},
      {"\"char\"", "\"char\""},
      {"pg_catalog.timestamp", "pg_catalog.timestamp"},
      {"geometry(Point,4326)", "geometry(point,4326)"},
      {"vector(3)", "vector(3)"},
      {"gr\xC3\xB6\xC3\x9F"
       "e",
       "gr\xC3\xB6\xC3\x9F"
       "e"},
      {"\"text; drop table t\"", "\"text; drop table t\""},  // a name, if an odd one
  };
  for (const auto& [text, expected] : cases) {
    const auto type = canonical_postgres_type(text);
    ASSERT_TRUE(type.has_value()) << text;
    EXPECT_EQ(*type, expected);
    EXPECT_EQ(canonical_postgres_type(*type), type) << "again";
  }
}

TEST(PostgresType, RefusesWhatIsNoTypeOrMore) {
  const std::string cases[] = {
      "",
      " ",
      "text check (pg_sleep(9) is null)",
      "text check(true)",
      "text); drop table t; --",
      "text; drop table t",
      "text -- comment",
      "text /* comment */",
      "text default now()",
      "text default 'x'",
      "int primary key",
      "int not null",
      "int null",
      "int unique",
      "int generated always as identity",
      "int references t",
      "text collate \"C\"",
      "text, b int",
      "numeric(10,2,3)",
      "numeric(10",
      "numeric()",
      "numeric(now())",
      "numeric(1+1)",
      "numeric(10,2) using x",
      "varchar('20')",
      "varchar(20)(20)",
      "numeric(1.5)",
      "numeric(12345678901)",
      "text[3]",
      "text[][]",
      "text array",
      "text[",
      "a.b.c",
      ".text",
      "text.",
      "a..b",
      "\"text",
      "\"\"",
      "\"a\"\"",
      "'text'",
      "U&\"text\"",
      "text%type",
      "setof text",
      "$1",
      "10",
      "check(1)",
      "default",
      "primary",
      "null",
      "public.table",
      "time with",
      "time with time",
      "time without zone",
      "timestamp zone",
      "interval to month",
      "interval month to year",
      "interval year to day",
      "interval day to",
      "interval year(3)",
      "double precision(3)",
      "text\n",
      "text\ndefault 1",
      "te\\xt",
      "text\x01",
      std::string("text\0", 5),
      std::string("\"te\0xt\"", 7),
  };
  for (const std::string& text : cases) EXPECT_EQ(canonical_postgres_type(text), std::nullopt) << text;
}

// Whatever is put behind a type: it is one name, or refused.
TEST(PostgresType, NothingFollowsAType) {
  for (const std::string type : {"text", "numeric(10,2)", "time(3) with time zone", "\"Odd\"", "text[]"}) {
    for (const std::string rest :
         {" a", ";", ")", " (", ",", " check (true)", "--", "/*", " [1]", "'", "=", "::text", " \"C\""}) {
      EXPECT_EQ(canonical_postgres_type(type + rest), std::nullopt) << type + rest;
    }
  }
}

}  // namespace
}  // namespace snowmelt
