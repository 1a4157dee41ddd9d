#include "snowmelt/extract/query_check.h"

#include <fmt/format.h>

#include <cctype>
#include <cstdint>
#include <string_view>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

bool gives_rows_only(int64_t type) {
  constexpr int64_t kSelect = 0x1000, kExplain = 0x2000, kList = 0x4701;
  constexpr int64_t kShow = 0x4400, kDescribe = 0x4500;  // families: the low byte names the kind of object
  return type == kSelect || type == kExplain || type == kList || (type & ~0xFF) == kShow || (type & ~0xFF) == kDescribe;
}

std::string_view family_of(int64_t type) {
  switch (type & ~0xFFF) {
    case 0x3000: return "it changes rows";
    case 0x4000: return "it changes the session";
    case 0x5000: return "it begins or ends a transaction";
    case 0x6000: return "it creates, changes or drops an object";
    case 0x7000: return "it moves files";
    default: return "it is not known to give rows only";
  }
}

// The first word behind blanks, comments and brackets, in lower case.
std::string first_word(std::string_view sql) {
  size_t at = 0;
  while (at < sql.size()) {
    const std::string_view rest = sql.substr(at);
    if (rest.starts_with("--") || rest.starts_with("//")) {
      at = std::min(sql.find('\n', at), sql.size());
    } else if (rest.starts_with("/*")) {
      const size_t end = sql.find("*/", at + 2);
      at = end == std::string_view::npos ? sql.size() : end + 2;
    } else if (std::isspace(static_cast<unsigned char>(rest[0])) != 0 || rest[0] == '(') {
      ++at;
    } else {
      break;
    }
  }
  std::string word;
  for (; at < sql.size() && std::isalpha(static_cast<unsigned char>(sql[at])) != 0; ++at) {
    word += static_cast<char>(std::tolower(static_cast<unsigned char>(sql[at])));
  }
  return word;
}

[[noreturn]] void refuse(std::string_view why) {
  throw ConfigurationError("config.query_changes", fmt::format("query is refused: {}", why),
                           {.hint = "query takes a SELECT (or SHOW, DESCRIBE, LIST); run other statements once with a cursor "
                                    "(Python) or in Snowflake, and select from what they made",
                            .nothing_sent = true});
}

}  // namespace

void check_query(SourceSession& source, const std::string& query, const std::stop_token& stop) {
  // A procedure may do anything, and its call is described as the rows that it gives.
  const std::string word = first_word(query);
  for (const std::string_view runs_code : {"call", "execute", "begin", "declare"}) {
    if (word == runs_code) refuse(fmt::format("{} runs a procedure or a block", word));
  }
  const auto described = source.describe({.sql = query, .parameters = {}, .query_tag = {}, .stop = stop});
  if (!described) return;
  const int64_t type = described->statement_type_id;
  if (!gives_rows_only(type)) refuse(fmt::format("{} (statement type 0x{:04x})", family_of(type), type));
}

}  // namespace snowmelt
