#include "snowmelt/pipeline/type_table.h"

#include <arrow/api.h>
#include <fmt/format.h>

#include <map>
#include <vector>

#include "snowmelt/error.h"
#include "snowmelt/extract/snowflake_types.h"
#include "snowmelt/load/batch_adapter.h"
#include "snowmelt/load/type_map.h"
#include "snowmelt/storage/parquet_file.h"

namespace snowmelt {
namespace {

constexpr const char* kHead = R"(# Types

Made by `snowmelt types` (`make docs`); a test holds it against the code. Values arrive exact or are refused by column and row: nothing is
rounded, cut or turned into something else unless a key of `[[table]]` says so, and what a key changed is counted in the report.

## Snowflake → Parquet → PostgreSQL

"New table" is the type in a table that snowmelt makes; "takes it too" are types of existing tables (and of `types = { … }`) that hold every
value or refuse it by row. Domains count as what they are over.

| Snowflake | key | Arrow | Parquet | new table | takes it too |
|---|---|---|---|---|---|
)";

constexpr const char* kForeignHead = R"(
## Other writers' Parquet → PostgreSQL

Dictionaries, views and the `large_` forms are the same as their plain types. Timestamps in seconds, milliseconds, microseconds or nanoseconds
are the same but for the digits[^subsecond]. Files of one directory are loaded in the order of their names.

| Arrow or Parquet | new table | takes it too |
|---|---|---|
)";

constexpr const char* kPolicies = R"(
## Values that PostgreSQL cannot hold

| problem | refused as | key | what it may say |
|---|---|---|---|
| U+0000 in text, `\u0000` in jsonb | `copy.nul_in_text` | `on_nul` | `error`, `strip`, `replace` (by U+FFFD) |
| digits below the microsecond | `snowflake.subsecond_digits`, `copy.subsecond_digits` | `on_subsecond` | `error`, `truncate` (down), `round` (half to even), `nanos` (kept in Parquet) |
| a number, date or timestamp outside the column's range | `copy.out_of_range`, `snowflake.integer_out_of_range` | `on_out_of_range` | `error`, `null` |
| an integer of more than 64 bits in bigint | `snowflake.integer_out_of_range` | `integers` | `bigint`, `numeric` |
| a type nobody knows | `snowflake.unknown_type` | `drop`, or a `query` that casts it | |

Names: all upper case and `[A-Z_][A-Z0-9_$]*` becomes lower case, every other name stays as it is. Two columns of one name, names over 63 bytes,
names of system columns and more than 1,600 columns are refused before the first byte, all of them at once, with a line of
`rename = { … }` to paste; so are more fixed-width NOT NULL columns than a page of 8 kB has room for. NOT NULL is kept; a primary key and the comments are added after the data where Snowflake's metadata tells them. A key
that the rows do not keep (Snowflake does not enforce it) is left out with a warning.

)";

constexpr const char* kNotes =
    R"([^bigint]: Snowflake's INT and BIGINT are NUMBER(38,0), and people mean bigint. A value beyond 64 bits is refused by row; `integers = "numeric"`
    keeps all 38 digits. NUMBER(4,0) and less become smallint, NUMBER(9,0) and less integer.
[^decfloat]: As text in Parquet, 38 digits and any exponent. PostgreSQL's numeric ends at 16,383 digits behind the point: beyond, refused.
[^subsecond]: PostgreSQL has microseconds. A value with more digits is refused by row, unless `on_subsecond` gives them up.
[^nanos]: 64-bit nanoseconds reach from 1677-09-21 to 2262-04-11; what lies outside is refused by row.
[^tz]: An instant. Each row's own offset is given up, unless `tz_offset = true` keeps it, in minutes, in `<column>_tz_offset`.
[^json]: Equal as JSON, not byte for byte: jsonb sorts keys, keeps the last of two equal ones, and writes numbers as numeric does (1e2 as 100). A
    column of type json or text keeps the text. JSON's null stays apart from SQL's NULL. `undefined`, NaN and infinities, which are not
    JSON, are refused by PostgreSQL with the line.
[^structured]: Snowflake sends JSON text; with native structured types switched on, structs, lists and maps become JSON with every digit. Binary members
    become hexadecimal.
[^geo]: The session is asked for EWKB, which keeps every bit and the SRID, unless `session_parameters` say otherwise; GeoJSON and WKT stay text.
    `geometry` and `geography` where PostGIS is there, else bytea.
[^vector]: `vector(n)` where pgvector is there, else an array. NaN and infinities do not go into a vector; integers beyond 24 bits are refused there.
[^interval]: Parquet holds ISO 8601 text. Months, days and microseconds stay apart. Digits below the microsecond follow `on_subsecond`.
[^text]: Without U+0000, which PostgreSQL's text has not (`on_nul`). A collation is not carried.
[^uint64]: Half of its values do not fit bigint.
[^int96]: Of Spark, Hive and Impala. Spark means an instant (timestamptz); another writer's is a wall-clock time. Every year is read; digits below the
    microsecond are refused. Files in Spark's legacy calendar are refused where a value lies before 1582-10-15.
[^nested]: Exact JSON. NaN and infinities are refused by row; bytes inside have no JSON form and are refused as a type.

Only a live account can settle: the wire forms of DECFLOAT, INTERVAL, UUID and FILE beyond what Snowflake's drivers read, whether -0 and NaN's bits
survive in FLOAT, `undefined` and NaN in VARIANT, and which years beyond 9999 DATE and TIMESTAMP accept.
)";

const std::map<std::string_view, const char*>& notes() {
  static const std::map<std::string_view, const char*> table{
      {"NUMBER", "[^bigint]"},
      {"DECFLOAT", "[^decfloat]"},
      {"TIME", "[^subsecond]"},
      {"TIMESTAMP_NTZ", "[^subsecond]"},
      {"TIMESTAMP_LTZ", "[^subsecond]"},
      {"TIMESTAMP_TZ", "[^subsecond][^tz]"},
      {"VARIANT", "[^json]"},
      {"OBJECT", "[^json][^structured]"},
      {"ARRAY", "[^json][^structured]"},
      {"MAP", "[^json][^structured]"},
      {"GEOGRAPHY", "[^geo]"},
      {"GEOMETRY", "[^geo]"},
      {"VECTOR", "[^vector]"},
      {"INTERVAL_YEAR_MONTH", "[^interval]"},
      {"INTERVAL_DAY_TIME", "[^interval]"},
      {"TEXT", "[^text]"},
  };
  return table;
}

// Types of existing columns that take the field, without the one that new tables get.
std::string takers(const arrow::Schema& schema, const std::vector<SourceColumn>& source, const std::string& besides) {
  std::string list;
  for (const TargetColumn& target : known_targets()) {
    const std::string shown = target.type;
    if (shown == besides || shown == besides.substr(0, besides.find('(')) ||
        (shown == "timestamptz" && besides.starts_with("timestamp with")))
      continue;
    try {
      map_columns(schema, source, {target}, "t");
      list += (list.empty() ? "" : ", ") + shown;
    } catch (const ValueError&) {
    }
  }
  return list;
}

std::string target_cells(const arrow::Schema& schema, const std::vector<SourceColumn>& source, IntegerMode integers) {
  const std::string plain = plan_new_table(schema, source, integers).at(0).type;
  const std::string extended =
      plan_new_table(schema, source, integers, {}, {.vector = "vector", .geometry = "geometry", .geography = "geography"})
          .at(0)
          .type;
  return fmt::format("{} | {}", extended == plain ? plain : extended + ", else " + plain, takers(schema, source, plain));
}

void add_snowflake_row(std::string& text, const SnowflakeColumn& column, const std::string& key, const ColumnRules& rules) {
  const WireConverter converter({column}, rules);
  const int field = rules.tz_offset ? 1 : 0;
  const auto schema = arrow::schema({converter.schema()->field(field)->WithName("C")});
  std::vector<SourceColumn> source{converter.columns()[static_cast<size_t>(field)]};
  source[0].name = "C";
  const SourceType type = rules.tz_offset ? converter.columns()[0].source_type : source[0].source_type;
  const auto note = notes().find(kSourceWords[static_cast<size_t>(type.word())]);
  const bool whole = column.type == "fixed" && (column.scale.value_or(0) != 0 || rules.integers == IntegerMode::numeric);
  text += fmt::format("| {}{} | {} | {} | {} | {} |\n", type.text(), note == notes().end() || whole ? "" : note->second, key,
                      schema->field(0)->type()->ToString(), parquet_type_text(*schema->field(0)),
                      target_cells(*schema, source, rules.integers));
}

void add_snowflake_type(std::string& text, SnowflakeColumn column) {
  if (column.type == "fixed") {
    for (const auto& [precision, scale] : {std::pair{4, 0}, {9, 0}, {18, 0}, {38, 0}, {9, 2}, {18, 2}, {38, 10}}) {
      column.precision = precision;
      column.scale = scale;
      add_snowflake_row(text, column, "", {});
    }
    column.scale = 0;
    add_snowflake_row(text, column, "`integers = \"numeric\"`", {.integers = IntegerMode::numeric});
  } else if (column.type == "time" || column.type.starts_with("timestamp")) {
    if (column.type == "time") {
      column.scale = 6;
      add_snowflake_row(text, column, "", {});
    }
    column.scale = 9;
    add_snowflake_row(text, column, "", {});
    if (column.type == "time")
      add_snowflake_row(text, column, "`on_subsecond = \"truncate\"`", {.on_subsecond = SubsecondMode::truncate});
    else
      add_snowflake_row(text, column, "`on_subsecond = \"nanos\"`[^nanos]", {.on_subsecond = SubsecondMode::nanos});
    if (column.type == "timestamp_tz") add_snowflake_row(text, column, "`tz_offset = true`, beside it", {.tz_offset = true});
  } else if (column.type == "vector") {
    for (const char* element : {"real", "fixed"}) {
      SnowflakeColumn field;
      field.type = element;
      column.fields = {field};
      column.dimension = 3;
      add_snowflake_row(text, column, "", {});
    }
  } else {
    add_snowflake_row(text, column, "", {});
  }
}

void add_foreign_rows(std::string& text) {
  using namespace arrow;
  struct Row {
    const char* name;
    std::shared_ptr<DataType> type;
    SourceType word = {};
  };
  const std::vector<Row> rows{
      {"int8, int16, uint8", int16()},
      {"int32, uint16", int32()},
      {"int64, uint32", int64()},
      {"uint64[^uint64]", uint64()},
      {"float16, float32", float32()},
      {"float64", float64()},
      {"decimal(p,s), p ≤ 76", decimal128(20, 4)},
      {"bool", boolean()},
      {"string", utf8()},
      {"JSON", utf8(), "VARIANT"},
      {"ENUM", utf8(), "ENUM"},
      {"binary, BSON", binary()},
      {"fixed_size_binary", fixed_size_binary(8)},
      {"UUID", fixed_size_binary(16), "UUID"},
      {"date32, date64", date32()},
      {"time32, time64[^subsecond]", time64(TimeUnit::MICRO)},
      {"timestamp[^subsecond]", timestamp(TimeUnit::MICRO)},
      {"timestamp, adjusted to UTC[^subsecond]", timestamp(TimeUnit::MICRO, "UTC")},
      {"INT96[^int96]", timestamp(TimeUnit::MICRO)},
      {"duration[^subsecond]", duration(TimeUnit::MICRO)},
      {"INTERVAL", fixed_size_binary(12), "INTERVAL"},
      {"null", null()},
      {"list of any of these", list(int32())},
      {"list of lists[^nested]", list(list(int32()))},
      {"struct[^nested]", struct_({field("a", int32())})},
      {"map[^nested]", map(utf8(), int32())},
  };
  for (const Row& row : rows) {
    const auto schema = arrow::schema({field("C", row.type)});
    const BatchAdapter adapter(*schema, {{"C", row.word, true}}, {});
    text +=
        fmt::format("| {} | {} |\n", row.name, target_cells(*adapter.schema(), adapter.source_columns(), IntegerMode::bigint));
  }
}

}  // namespace

std::string type_table_markdown() {
  std::string text = kHead;
  for (const SnowflakeColumn& column : known_types()) {
    const bool carrier_only =
        column.extension.empty() && (column.type == "geography" || column.type == "geometry" || column.type == "uuid");
    if (!carrier_only) add_snowflake_type(text, column);  // the extension's own rows say it
  }
  text += kForeignHead;
  add_foreign_rows(text);
  return text + kPolicies + kNotes;
}

}  // namespace snowmelt
