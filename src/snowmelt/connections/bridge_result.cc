#include "snowmelt/connections/bridge_result.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "snowmelt/connections/bridge_library.h"
#include "snowmelt/error.h"

namespace snowmelt {
namespace {

using Json = nlohmann::json;

constexpr int kTypeDepthMax = 100;
// No result comes near.
constexpr int64_t kRowsMax = 1'000'000'000'000'000'000;
constexpr int64_t kChunkBytesMax = int64_t{1} << 40;

[[noreturn]] void bad(const std::string& what) {
  throw VerificationError("snowflake.bad_answer", "the server's answer is not taken: " + what,
                          {.hint = "run it again; if it stays so, report it to Snowflake with the query id"});
}

// A fraction, and a number beyond the wanted width, would be cut to one that the server did not say.
template <typename Number = int64_t>
Number whole_number(const Json& number, const char* key) {
  const bool wide = number.is_number_unsigned() && number.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()};
  if (!number.is_number_integer() || wide) bad(fmt::format("{} is not a whole number of 64 bits", key));
  const auto value = number.get<int64_t>();
  if (!std::in_range<Number>(value)) bad(fmt::format("{} is {}", key, value));
  return static_cast<Number>(value);
}

template <typename Number>
std::optional<Number> optional_number(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return std::nullopt;
  return whole_number<Number>(*found, key);
}

SnowflakeColumn parse_column(const Json& text, int depth = 0) {
  if (depth > kTypeDepthMax) bad("a type nested deeper than " + std::to_string(kTypeDepthMax));
  SnowflakeColumn column;
  column.name = text.value("name", "");
  column.type = text.at("type");
  std::transform(column.type.begin(), column.type.end(), column.type.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  column.precision = optional_number<int>(text, "precision");
  column.scale = optional_number<int>(text, "scale");
  column.length = optional_number<int64_t>(text, "length");
  column.byte_length = optional_number<int64_t>(text, "byteLength");
  column.nullable = text.value("nullable", true);
  if (const auto extension = text.find("extTypeName"); extension != text.end() && extension->is_string())
    column.extension = extension->get<std::string>();
  column.dimension = optional_number<int>(text, "vectorDimension");
  if (const auto fields = text.find("fields"); fields != text.end() && fields->is_array()) {
    for (const Json& field : *fields) column.fields.push_back(parse_column(field, depth + 1));
  }
  return column;
}

Row parse_row(const Json& text) {
  Row row;
  for (const Json& value : text) {
    if (value.is_null())
      row.emplace_back();
    else
      row.emplace_back(value.is_string() ? value.get<std::string>() : value.dump());
  }
  return row;
}

// Each of these ends a line of the request, or the text for C: what follows would be the server's own header.
bool breaks_a_line(std::string_view text) { return text.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos; }

int64_t chunk_number(const Json& chunk, const char* key, int64_t most) {
  const int64_t number = whole_number(chunk.at(key), key);
  if (number < 0 || number > most) bad(fmt::format("a chunk with {} {}", key, number));
  return number;
}

std::vector<ResultChunk> parse_chunks(const Json& list, int64_t total) {
  std::vector<ResultChunk> chunks;
  int64_t rows_left = total;  // the rest are the inline rows
  std::set<std::string> paths;
  for (const Json& text : list) {
    ResultChunk chunk;
    chunk.url = text.at("url");
    chunk.rows = chunk_number(text, "row_count", rows_left);
    rows_left -= chunk.rows;
    chunk.uncompressed_size = chunk_number(text, "uncompressed_size", kChunkBytesMax);
    chunk.compressed_size = chunk_number(text, "compressed_size", kChunkBytesMax);
    const size_t number = chunks.size() + 1;
    if (chunk.url.empty()) bad(fmt::format("chunk {} has no address", number));
    if (breaks_a_line(chunk.url)) bad(fmt::format("the address of chunk {} holds a line break", number));
    // Two chunks from one place: one of them would be read twice and another never, with the count still right.
    if (!paths.insert(chunk.url.substr(0, chunk.url.find_first_of("?#"))).second) {
      bad(fmt::format("chunk {} has the address of an earlier one", number));
    }
    chunks.push_back(std::move(chunk));
  }
  return chunks;
}

std::map<std::string, std::string> parse_headers(const Json& text) {
  auto headers = text.get<std::map<std::string, std::string>>();
  for (const auto& [name, value] : headers) {
    const bool is_name = !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
      return std::isalnum(c) != 0 || std::strchr("!#$%&'*+-.^_`|~", c) != nullptr;
    });
    if (!is_name || breaks_a_line(value)) bad("a chunk header that is no single line");
  }
  return headers;
}

StatementResult parse(const Json& answer) {
  StatementResult result;
  result.query_id = answer.at("query_id");
  result.total = whole_number(answer.at("total"), "total");
  if (result.total < 0 || result.total > kRowsMax) bad(fmt::format("a total of {} rows", result.total));
  result.statement_type_id = whole_number(answer.at("statement_type_id"), "statement_type_id");
  result.arrow = answer.at("format") == "arrow";
  for (const Json& column : answer.at("row_type")) result.row_type.push_back(parse_column(column));
  if (result.arrow) {
    result.first_batch = decode_base64(answer.at("rowset_base64").get_ref<const std::string&>());
  } else {
    for (const Json& row : answer.at("rowset")) result.rows.push_back(parse_row(row));
  }
  result.chunks = parse_chunks(answer.at("chunks"), result.total);
  result.chunk_headers = parse_headers(answer.at("chunk_headers"));
  return result;
}

// An account's or user's ROWS_PER_RESULTSET ends every result early, and a server may give the shorter number as the total too.
void check_all_rows(const StatementResult& result, const Json& answer) {
  constexpr const char* kHint =
      "the rows beyond it are missing: set ROWS_PER_RESULTSET to 0 in this session (alter session set ROWS_PER_RESULTSET = 0), "
      "or "
      "have it unset for the user and the account";
  if (const std::string limit = answer.value("row_limit", ""); !limit.empty() && limit != "0") {
    throw VerificationError("snowflake.rows_limited", fmt::format("the session's ROWS_PER_RESULTSET is {}", limit),
                            {.hint = kHint});
  }
  const std::optional<int64_t> returned = optional_number<int64_t>(answer, "returned");
  // Servers that count the inline rows alone have every row too.
  if (!returned || *returned == result.total || (!result.chunks.empty() && *returned == result.inline_rows())) return;
  throw VerificationError(
      "snowflake.rows_limited",
      fmt::format("the server returned {} of {} rows, which is what ROWS_PER_RESULTSET does", *returned, result.total),
      {.hint = kHint});
}

}  // namespace

StatementResult parse_result(const Json& answer, const std::string& where, RowCheck check) {
  try {
    StatementResult result = parse(answer);
    if (check == RowCheck::all_rows) check_all_rows(result, answer);
    return result;
  } catch (const Json::exception& error) {
    throw VerificationError("snowflake.unknown_answer",
                            fmt::format("the server's answer has a shape that is not known: {}", error.what()),
                            {.where = where, .hint = "report it with the driver's version: snowmelt --version"});
  } catch (const VerificationError& error) {
    ErrorFacts facts = error.facts();
    facts.where = where;
    if (const auto id = answer.find("query_id"); id != answer.end() && id->is_string()) facts.query_id = id->get<std::string>();
    throw VerificationError(error.code(), error.message(), std::move(facts));
  }
}

}  // namespace snowmelt
