#include "snowmelt/load/type_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "snowmelt/error.h"
#include "snowmelt/names.h"
#include "snowmelt/postgres_name.h"
#include "snowmelt/postgres_type.h"

namespace snowmelt {
namespace {

// OIDs of pg_type.dat, fixed since PostgreSQL exists.
enum Oid : uint32_t {
  kBool = 16,
  kBytea = 17,
  kInt8 = 20,
  kInt2 = 21,
  kInt4 = 23,
  kText = 25,
  kJson = 114,
  kFloat4 = 700,
  kFloat8 = 701,
  kBpchar = 1042,
  kVarchar = 1043,
  kDate = 1082,
  kTime = 1083,
  kTimestamp = 1114,
  kTimestamptz = 1184,
  kInterval = 1186,
  kTimetz = 1266,
  kNumeric = 1700,
  kUuid = 2950,
  kJsonb = 3802,
};

constexpr int kTypmodHeader = 4;
constexpr int kIntervalFullRange = 0x7fff;
constexpr size_t kColumnsMax = 1600;
constexpr std::array<std::string_view, 6> kSystemColumns{"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"};

bool is_zoned(const arrow::DataType& type) {
  return type.id() == arrow::Type::TIMESTAMP && !static_cast<const arrow::TimestampType&>(type).timezone().empty();
}

// The map: for a PostgreSQL type, the codec for an Arrow type, or nullptr where the two have nothing exact in common.
struct TypeRule {
  uint32_t oid;
  const char* name;
  const ColumnCodec* (*codec)(const arrow::DataType& from, SourceType source_type);
};

const ColumnCodec* either(const ColumnCodec* first, const ColumnCodec* second) { return first != nullptr ? first : second; }

constexpr std::array kRules{
    TypeRule{kBool, "boolean", [](const arrow::DataType& from, SourceType) { return boolean_codec(from); }},
    TypeRule{kInt2, "smallint", [](const arrow::DataType& from, SourceType) { return integer_codec(from, IntegerTarget::int2); }},
    TypeRule{kInt4, "integer", [](const arrow::DataType& from, SourceType) { return integer_codec(from, IntegerTarget::int4); }},
    TypeRule{kInt8, "bigint", [](const arrow::DataType& from, SourceType) { return integer_codec(from, IntegerTarget::int8); }},
    TypeRule{kFloat4, "real",
             [](const arrow::DataType& from, SourceType) {
               return either(float_codec(from, false), integer_codec(from, IntegerTarget::float4));
             }},
    TypeRule{kFloat8, "double precision",
             [](const arrow::DataType& from, SourceType) {
               return either(float_codec(from, true), integer_codec(from, IntegerTarget::float8));
             }},
    TypeRule{kNumeric, "numeric",
             [](const arrow::DataType& from, SourceType source) {
               return source.is(SourceWord::decfloat) ? numeric_text_codec(from) : numeric_codec(from);
             }},
    TypeRule{kDate, "date", [](const arrow::DataType& from, SourceType) { return date_codec(from); }},
    TypeRule{kTime, "time", [](const arrow::DataType& from, SourceType) { return time_codec(from); }},
    // A wall-clock time and an instant are different things: turning one into the other needs a time zone that nobody named.
    TypeRule{kTimestamp, "timestamp",
             [](const arrow::DataType& from, SourceType) { return is_zoned(from) ? nullptr : timestamp_codec(from); }},
    TypeRule{kTimestamptz, "timestamptz",
             [](const arrow::DataType& from, SourceType) { return is_zoned(from) ? timestamp_codec(from) : nullptr; }},
    TypeRule{kInterval, "interval", [](const arrow::DataType& from, SourceType) { return interval_codec(from); }},
    TypeRule{kTimetz, "timetz", [](const arrow::DataType& from, SourceType) { return timetz_codec(from); }},
    TypeRule{kText, "text", [](const arrow::DataType& from, SourceType) { return text_codec(from); }},
    TypeRule{kVarchar, "varchar(n)", [](const arrow::DataType& from, SourceType) { return text_codec(from); }},
    TypeRule{kBpchar, "char(n)", [](const arrow::DataType& from, SourceType) { return text_codec(from); }},
    TypeRule{kJson, "json", [](const arrow::DataType& from, SourceType) { return text_codec(from); }},
    TypeRule{kJsonb, "jsonb", [](const arrow::DataType& from, SourceType) { return jsonb_codec(from); }},
    TypeRule{kBytea, "bytea", [](const arrow::DataType& from, SourceType) { return binary_codec(from); }},
    TypeRule{kUuid, "uuid", [](const arrow::DataType& from, SourceType) { return uuid_codec(from); }},
};

const ColumnCodec* codec_for(const arrow::DataType& from, SourceType source_type, const TargetColumn& to) {
  if (to.element_oid != 0) return array_codec(from);
  if (to.kind == 'e' || to.base_name == "citext") return text_codec(from);  // enum_recv and textrecv read plain text
  if (to.base_name == "vector") return vector_codec(from);                  // extensions have no fixed OIDs
  if (to.base_name == "geometry" || to.base_name == "geography") return geometry_codec(from);
  for (const TypeRule& rule : kRules) {
    if (rule.oid == to.type_oid) return rule.codec(from, source_type);
  }
  return nullptr;
}

bool is_timestamp_or_time(uint32_t oid) { return oid == kTime || oid == kTimetz || oid == kTimestamp || oid == kTimestamptz; }

int integer_precision(const arrow::DataType& type) {
  if (arrow::is_decimal(type.id())) return static_cast<const arrow::DecimalType&>(type).precision();
  constexpr std::array<int, 4> kDigits{3, 5, 10, 20};
  return kDigits[type.byte_width() == 1 ? 0 : type.byte_width() == 2 ? 1 : type.byte_width() == 4 ? 2 : 3];
}

void set_numeric_target(const arrow::DataType& from, const TargetColumn& to, EncoderColumn& column) {
  if (arrow::is_decimal(from.id())) column.source_scale = static_cast<const arrow::DecimalType&>(from).scale();
  if (to.typmod < kTypmodHeader) return;
  const int precision = ((to.typmod - kTypmodHeader) >> 16) & 0xffff;
  const int scale = (((to.typmod - kTypmodHeader) & 0x7ff) ^ 1024) - 1024;
  // Where every value of the source type fits, nothing is left to check.
  const bool is_number = arrow::is_decimal(from.id()) || arrow::is_integer(from.id());
  if (is_number && scale >= column.source_scale && precision - scale >= integer_precision(from) - column.source_scale) return;
  column.precision = precision;
  column.scale = scale;
}

std::optional<EncoderColumn> encoder_column(int field, const arrow::DataType& from, SourceType source_type,
                                            const TargetColumn& to) {
  EncoderColumn column{
      .field = field, .name = to.name, .type = to.type, .codec = codec_for(from, source_type, to), .not_null = to.not_null};
  if (column.codec == nullptr) return std::nullopt;
  if (to.type_oid == kNumeric) set_numeric_target(from, to, column);
  if (is_timestamp_or_time(to.type_oid) && to.typmod >= 0) column.fraction_digits = to.typmod;
  if (to.type_oid == kInterval && to.typmod >= 0) {
    // "interval year to month" and the like cut the other fields without a word.
    if (((to.typmod >> 16) & kIntervalFullRange) != kIntervalFullRange) return std::nullopt;
    if ((to.typmod & 0xffff) <= 6) column.fraction_digits = to.typmod & 0xffff;
  }
  if (to.base_name == "vector" && to.typmod > 0) column.length_max = to.typmod;
  if ((to.type_oid == kVarchar || to.type_oid == kBpchar) && to.typmod >= kTypmodHeader)
    column.length_max = to.typmod - kTypmodHeader;
  if (to.element_oid == 0) return column;
  // An array column's typmod is its elements'.
  TargetColumn element{.name = to.name, .type = to.type, .type_oid = to.element_oid, .typmod = to.typmod};
  const auto child = encoder_column(0, *from.field(0)->type(), {}, element);
  if (!child) return std::nullopt;
  column.element_oid = to.element_oid;
  column.element = std::make_shared<EncoderColumn>(*child);
  return column;
}

std::string integer_ddl(const arrow::DataType& type, SourceType source_type) {
  if (source_type.is(SourceWord::number)) {
    const int precision = source_type.precision();
    return precision <= 4 ? "smallint" : precision <= 9 ? "integer" : "bigint";
  }
  switch (type.id()) {
    case arrow::Type::INT8:
    case arrow::Type::UINT8:
    case arrow::Type::INT16: return "smallint";
    case arrow::Type::UINT16:
    case arrow::Type::INT32: return "integer";
    case arrow::Type::UINT64: return "numeric(20,0)";  // half of its values do not fit bigint
    default: return "bigint";
  }
}

std::string text_ddl(SourceType source_type) {
  switch (source_type.word()) {
    case SourceWord::variant:
    case SourceWord::object:
    case SourceWord::array:
    case SourceWord::map: return "jsonb";
    case SourceWord::decfloat: return "numeric";
    case SourceWord::uuid: return "uuid";
    case SourceWord::interval_year_month:
    case SourceWord::interval_day_time: return "interval";
    default: return "text";
  }
}

// DDL for a new table's column; empty where PostgreSQL has no exact counterpart that we know.
std::string default_type(const arrow::DataType& type, SourceType source_type, IntegerMode integers,
                         const ExtensionTypes& extensions) {
  switch (type.id()) {
    case arrow::Type::BOOL: return "boolean";
    case arrow::Type::INT8:
    case arrow::Type::INT16:
    case arrow::Type::INT32:
    case arrow::Type::INT64:
    case arrow::Type::UINT8:
    case arrow::Type::UINT16:
    case arrow::Type::UINT32:
    case arrow::Type::UINT64: return integer_ddl(type, source_type);
    case arrow::Type::DECIMAL32:
    case arrow::Type::DECIMAL64:
    case arrow::Type::DECIMAL128:
    case arrow::Type::DECIMAL256: {
      const auto& decimal = static_cast<const arrow::DecimalType&>(type);
      if (decimal.scale() == 0 && integers == IntegerMode::bigint && decimal.precision() <= 18 &&
          source_type.is(SourceWord::number)) {
        return integer_ddl(type, source_type);
      }
      return decimal.scale() < 0 ? "" : fmt::format("numeric({},{})", decimal.precision(), decimal.scale());
    }
    case arrow::Type::HALF_FLOAT:
    case arrow::Type::FLOAT: return "real";
    case arrow::Type::DOUBLE: return "double precision";
    case arrow::Type::DATE32:
    case arrow::Type::DATE64: return "date";
    case arrow::Type::TIME32:
    case arrow::Type::TIME64: return "time";
    case arrow::Type::TIMESTAMP: return is_zoned(type) ? "timestamp with time zone" : "timestamp";
    case arrow::Type::STRING:
    case arrow::Type::LARGE_STRING: return text_ddl(source_type);
    case arrow::Type::DURATION: return "interval";
    case arrow::Type::BINARY:
    case arrow::Type::LARGE_BINARY:
      if (source_type.is(SourceWord::geography) && !extensions.geography.empty()) return extensions.geography;
      if (source_type.is(SourceWord::geometry) && !extensions.geometry.empty()) return extensions.geometry;
      return "bytea";
    case arrow::Type::FIXED_SIZE_BINARY:
      return source_type.is(SourceWord::uuid) ? "uuid" : source_type.is(SourceWord::interval) ? "interval" : "bytea";
    case arrow::Type::LIST:
    case arrow::Type::LARGE_LIST: {
      if (source_type.is(SourceWord::vector) && !extensions.vector.empty()) {
        if (source_type.dimension() == 0) return extensions.vector;  // the row type did not say
        return fmt::format("{}({})", extensions.vector, source_type.dimension());
      }
      const std::string element = default_type(*type.field(0)->type(), {}, integers, extensions);
      return element.empty() || element.ends_with("[]") ? "" : element + "[]";
    }
    default: return "";
  }
}

SourceType source_type_of(const std::vector<SourceColumn>& source, int field) {
  return static_cast<size_t>(field) < source.size() ? source[field].source_type : SourceType();
}

[[noreturn]] void throw_problems(const char* code, const std::vector<std::string>& problems, const std::string& hint,
                                 const std::string& where = "") {
  throw ValueError(code, fmt::format("{}", fmt::join(problems, "; ")), {.where = where, .hint = hint});
}

// At most 63 bytes, cut at a character's border, with a digest of the whole name: the same in every run.
std::string shortened_name(const std::string& name) {
  constexpr size_t kDigestBytes = 9;  // "_1f3a9c2e"
  uint32_t digest = 2'166'136'261;    // FNV-1a
  for (const char c : name) digest = (digest ^ static_cast<unsigned char>(c)) * 16'777'619;
  return fmt::format("{}_{:08x}", cut_at_character(name, kPostgresNameBytesMax - kDigestBytes), digest);
}

// Every name that a new table cannot have. Gives the remedy, ready to be pasted; empty where all is well.
std::string add_name_problems(const std::vector<NewColumn>& columns, std::vector<std::string>& problems) {
  const size_t before = problems.size();
  std::string renames;
  const auto rename = [&](const NewColumn& column, const std::string& to) {
    const auto quoted = [](const std::string& name) {
      std::string text = "\"";
      for (const char c : name) text += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
      return text + "\"";
    };
    renames += fmt::format("{}{} = {}", renames.empty() ? "" : ", ", quoted(column.source), quoted(to));
  };
  std::map<std::string, int> seen;
  for (const NewColumn& column : columns) {
    if (column.name.empty()) {
      problems.push_back("a column has an empty name");
      rename(column, "unnamed");
    } else if (column.name.size() > kPostgresNameBytesMax) {
      problems.push_back(fmt::format("column {} is longer than {} bytes", column.name, kPostgresNameBytesMax));
      rename(column, shortened_name(column.name));
    }
    if (column.name.find('\0') != std::string::npos)
      problems.push_back(
          fmt::format("the name of column {} holds a NUL character", column.name.substr(0, column.name.find('\0'))));
    if (std::find(kSystemColumns.begin(), kSystemColumns.end(), column.name) != kSystemColumns.end()) {
      problems.push_back(fmt::format("column {} has the name of a system column", column.name));
      rename(column, column.name + "_");
    }
    if (const int count = ++seen[column.name]; count > 1) {
      if (count == 2) problems.push_back(fmt::format("two columns are called {}", column.name));
      rename(column, fmt::format("{}_{}", column.name, count));
    }
  }
  if (columns.size() > kColumnsMax)
    problems.push_back(fmt::format("{} columns are more than the {} a table can have", columns.size(), kColumnsMax));
  if (problems.size() == before) return "";
  return renames.empty() ? "give the columns other names with query = \"select a as b …\""
                         : "give the columns other names: rename = { " + renames + " }";
}

// The keys of a configuration are checked where they are read; a program's own are checked here.
std::string checked_type(const std::string& text, const std::string& column) {
  if (const auto type = canonical_postgres_type(text)) return *type;
  throw ConfigurationError("config.invalid", fmt::format("\"{}\" is not a PostgreSQL type", text),
                           {.where = "types, column " + column, .hint = std::string(kPostgresTypeForms)});
}

// Bytes in a row and their alignment; of fixed widths as pg_type has them. What else there is takes a byte at least.
struct Width {
  int64_t bytes = 1;
  int64_t alignment = 1;
  bool fixed = false;
};

Width width_of(std::string_view type) {
  static const std::map<std::string_view, Width> widths{{"boolean", {1, 1, true}},
                                                        {"bool", {1, 1, true}},
                                                        {"smallint", {2, 2, true}},
                                                        {"int2", {2, 2, true}},
                                                        {"integer", {4, 4, true}},
                                                        {"int", {4, 4, true}},
                                                        {"int4", {4, 4, true}},
                                                        {"bigint", {8, 8, true}},
                                                        {"int8", {8, 8, true}},
                                                        {"real", {4, 4, true}},
                                                        {"float4", {4, 4, true}},
                                                        {"float8", {8, 8, true}},
                                                        {"date", {4, 4, true}},
                                                        {"time", {8, 8, true}},
                                                        {"timestamp", {8, 8, true}},
                                                        {"timestamptz", {8, 8, true}},
                                                        {"interval", {16, 8, true}},
                                                        {"timetz", {12, 4, true}},
                                                        {"double precision", {8, 8, true}},
                                                        {"uuid", {16, 1, true}}};
  if (type.ends_with("[]")) return {};
  constexpr std::string_view kCatalog = "pg_catalog.";
  if (type.starts_with(kCatalog)) type.remove_prefix(kCatalog.size());
  if (const auto found = widths.find(type); found != widths.end()) return found->second;
  // "timestamp(3) with time zone", "interval day to second".
  const auto found = widths.find(type.substr(0, type.find_first_of(" (")));
  return found == widths.end() ? Width{} : found->second;
}

int64_t aligned(int64_t at, int64_t alignment) { return (at + alignment - 1) / alignment * alignment; }

// The smallest row that the table can hold, as heap_form_tuple() makes it. Nullable columns are NULL, which costs a bit of header
// for every column there is, or all of them are filled, where that is less.
int64_t smallest_row(const std::vector<NewColumn>& columns) {
  constexpr int64_t kHeader = 23, kAlignment = 8;
  int64_t bare = 0, full = 0;
  bool any_nullable = false;
  for (const NewColumn& column : columns) {
    const Width width = width_of(column.type);
    full = aligned(full, width.alignment) + width.bytes;
    if (column.not_null)
      bare = aligned(bare, width.alignment) + width.bytes;
    else
      any_nullable = true;
  }
  const int64_t without_bitmap = aligned(kHeader, kAlignment) + full;
  if (!any_nullable) return aligned(without_bitmap, kAlignment);
  const int64_t bitmap = (static_cast<int64_t>(columns.size()) + 7) / 8;
  return aligned(std::min(without_bitmap, aligned(kHeader + bitmap, kAlignment) + bare), kAlignment);
}

// PostgreSQL takes such a table and refuses its first row. Longer values move out of the row, fixed ones cannot.
void check_width(const std::vector<NewColumn>& columns) {
  constexpr int64_t kRowMax = 8'160;  // MaxHeapTupleSize of pages of 8 KiB
  constexpr size_t kNamed = 3;
  const int64_t bytes = smallest_row(columns);
  if (bytes <= kRowMax) return;
  std::vector<std::string> fixed;
  for (const NewColumn& column : columns) {
    if (column.not_null && width_of(column.type).fixed) fixed.push_back(column.source);
  }
  const size_t more = fixed.size() > kNamed ? fixed.size() - kNamed : 0;
  fixed.resize(std::min(fixed.size(), kNamed));
  throw ValueError(
      "types.row_too_wide",
      fmt::format(
          "the smallest possible row takes {} bytes, and a row of PostgreSQL's has at most {}: {} columns are NOT NULL and "
          "of fixed width ({}{})",
          bytes, kRowMax, fixed.size() + more, fmt::join(fixed, ", "),
          more == 0 ? std::string() : fmt::format(" and {} more", more)),
      {.hint =
           "leave columns out with drop = [\"…\"], give them narrower types with types = { … }, or make two tables of it with "
           "query = \"select …\""});
}

// By name as folded; failing that, without regard to case where only one column answers.
const TargetColumn* find_target(const std::vector<TargetColumn>& target, const std::string& name) {
  for (const TargetColumn& column : target) {
    if (column.name == name) return &column;
  }
  const TargetColumn* found = nullptr;
  for (const TargetColumn& column : target) {
    if (lower_case(column.name) != lower_case(name)) continue;
    if (found != nullptr) return nullptr;
    found = &column;
  }
  return found;
}

}  // namespace

std::string NewColumn::ddl() const {
  constexpr std::array<std::string_view, 6> kNoKeywords{"bytea", "date", "json", "jsonb", "text", "uuid"};
  std::string_view element = type;
  if (element.ends_with("[]")) element.remove_suffix(2);
  const bool shadowed = std::find(kNoKeywords.begin(), kNoKeywords.end(), element) != kNoKeywords.end();
  return !chosen && shadowed ? "pg_catalog." + type : type;
}

std::vector<TargetColumn> known_targets() {
  std::vector<TargetColumn> targets;
  for (const TypeRule& rule : kRules) targets.push_back({.name = "c", .type = rule.name, .type_oid = rule.oid});
  targets.push_back({.name = "c", .type = "an enum", .kind = 'e'});
  for (const TypeRule& rule : kRules)
    targets.push_back({.name = "c", .type = fmt::format("{}[]", rule.name), .element_oid = rule.oid});
  for (const char* extension : {"citext", "vector", "geometry", "geography"})
    targets.push_back({.name = "c", .type = extension, .base_name = extension});
  return targets;
}

std::string target_column_name(const std::string& field_name) { return fold_to_postgres(field_name); }

std::vector<NewColumn> plan_new_table(const arrow::Schema& schema, const std::vector<SourceColumn>& source, IntegerMode integers,
                                      const std::map<std::string, std::string>& types, const ExtensionTypes& extensions) {
  std::vector<NewColumn> columns;
  std::vector<std::string> problems;
  for (int i = 0; i < schema.num_fields(); ++i) {
    const arrow::Field& field = *schema.field(i);
    const auto chosen = types.find(target_column_name(field.name()));
    const bool is_chosen = chosen != types.end();
    const std::string type = is_chosen ? checked_type(chosen->second, field.name())
                                       : default_type(*field.type(), source_type_of(source, i), integers, extensions);
    if (type.empty())
      problems.push_back(fmt::format("column {} has the type {}, for which no PostgreSQL type is known", field.name(),
                                     field.type()->ToString()));
    const bool nullable = static_cast<size_t>(i) < source.size() ? source[i].nullable : field.nullable();
    columns.push_back({.name = target_column_name(field.name()),
                       .type = type,
                       .not_null = !nullable,
                       .source = field.name(),
                       .chosen = is_chosen});
  }
  const bool types_known = problems.empty();
  const std::string names_hint = add_name_problems(columns, problems);
  if (problems.empty()) {
    check_width(columns);
    return columns;
  }
  const std::string types_hint = "leave columns out with drop = [\"…\"], or convert them with query = \"select …\"";
  throw_problems(types_known ? "types.column_names" : "types.unknown", problems,
                 types_known ? names_hint : types_hint + (names_hint.empty() ? "" : "; " + names_hint));
}

std::vector<EncoderColumn> map_columns(const arrow::Schema& schema, const std::vector<SourceColumn>& source,
                                       const std::vector<TargetColumn>& target, const std::string& table) {
  std::vector<EncoderColumn> columns;
  std::vector<std::string> problems;
  std::set<std::string> filled;
  for (int i = 0; i < schema.num_fields(); ++i) {
    const arrow::Field& field = *schema.field(i);
    const std::string name = target_column_name(field.name());
    const TargetColumn* to = find_target(target, name);
    if (to == nullptr) {
      problems.push_back(fmt::format("the table has no column {}", name));
      continue;
    }
    if (!filled.insert(to->name).second) problems.push_back(fmt::format("two columns of the file belong to column {}", to->name));
    if (to->generated) problems.push_back(fmt::format("column {} is generated and takes no values", to->name));
    auto column = encoder_column(i, *field.type(), source_type_of(source, i), *to);
    if (column) {
      columns.push_back(std::move(*column));
    } else {
      const SourceType source_type = source_type_of(source, i);
      problems.push_back(fmt::format("column {} of type {} cannot hold {} exactly", to->name, to->type,
                                     source_type.empty() ? field.type()->ToString() : source_type.text()));
    }
  }
  for (const TargetColumn& column : target) {
    if (column.not_null && !column.has_default && !column.generated && !filled.contains(column.name)) {
      problems.push_back(fmt::format("column {} is NOT NULL, has no default, and the source has no such column", column.name));
    }
  }
  if (problems.empty()) return columns;
  throw_problems(
      "types.mismatch", problems,
      "change the table, pick and convert columns with query = \"select …\", or drop the table and let snowmelt make it",
      "table " + table);
}

}  // namespace snowmelt
