#include "snowmelt/extract/snowflake_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "snowmelt/error.h"
#include "snowmelt/extract/column_plan.h"
#include "snowmelt/extract/wire_arrays.h"
#include "snowmelt/names.h"

namespace snowmelt {
namespace {

constexpr int kDecimal32DigitsMax = 9;
constexpr int kDecimal64DigitsMax = 18;
constexpr int kMicrosDigits = 6;
constexpr int kNanosDigits = 9;

struct TypeRow {
  ColumnKind kind;
  SourceWord word;
  bool zoned = false;
};

// Every type snowmelt knows, by the row type's word. A word that is not here stops the export before row one.
const std::map<std::string, TypeRow>& type_table() {
  static const std::map<std::string, TypeRow> table{
      {"fixed", {ColumnKind::decimal, SourceWord::number}},
      {"real", {ColumnKind::real, SourceWord::float_}},
      {"decfloat", {ColumnKind::decfloat, SourceWord::decfloat}},
      {"text", {ColumnKind::text, SourceWord::text}},
      {"boolean", {ColumnKind::boolean, SourceWord::boolean}},
      {"binary", {ColumnKind::binary, SourceWord::binary}},
      {"date", {ColumnKind::date, SourceWord::date}},
      {"time", {ColumnKind::time, SourceWord::time}},
      {"timestamp_ntz", {ColumnKind::timestamp, SourceWord::timestamp_ntz}},
      {"timestamp_ltz", {ColumnKind::timestamp, SourceWord::timestamp_ltz}},
      {"timestamp_tz", {ColumnKind::timestamp, SourceWord::timestamp_tz, true}},
      {"variant", {ColumnKind::text, SourceWord::variant}},
      {"object", {ColumnKind::text, SourceWord::object}},
      {"array", {ColumnKind::text, SourceWord::array}},
      {"map", {ColumnKind::text, SourceWord::map}},
      {"geography", {ColumnKind::geography, SourceWord::geography}},
      {"geometry", {ColumnKind::geography, SourceWord::geometry}},
      {"vector", {ColumnKind::vector, SourceWord::vector}},
      {"uuid", {ColumnKind::text, SourceWord::uuid}},
      {"interval_year_month", {ColumnKind::interval_months, SourceWord::interval_year_month}},
      {"interval_day_time", {ColumnKind::interval_nanos, SourceWord::interval_day_time}},
  };
  return table;
}

std::shared_ptr<arrow::DataType> decimal_type(int precision, int scale) {
  if (precision <= kDecimal32DigitsMax) return arrow::decimal32(precision, scale);
  if (precision <= kDecimal64DigitsMax) return arrow::decimal64(precision, scale);
  return arrow::decimal128(precision, scale);
}

std::shared_ptr<arrow::DataType> timestamp_type(SourceWord word, SubsecondMode mode) {
  const auto unit = mode == SubsecondMode::nanos ? arrow::TimeUnit::NANO : arrow::TimeUnit::MICRO;
  return word == SourceWord::timestamp_ntz ? arrow::timestamp(unit) : arrow::timestamp(unit, "UTC");
}

// TIME(7) and finer, unless the digits that PostgreSQL has not are given up.
bool keeps_nanos(const ColumnPlan& plan) {
  return plan.scale > kMicrosDigits && plan.on_subsecond != SubsecondMode::truncate && plan.on_subsecond != SubsecondMode::round;
}

std::shared_ptr<arrow::DataType> file_type(const ColumnPlan& plan, SourceWord word) {
  switch (plan.kind) {
    case ColumnKind::integer: return arrow::int64();
    case ColumnKind::decimal: return decimal_type(plan.precision, plan.scale);
    case ColumnKind::real: return arrow::float64();
    case ColumnKind::boolean: return arrow::boolean();
    case ColumnKind::date: return arrow::date32();
    case ColumnKind::time: return arrow::time64(keeps_nanos(plan) ? arrow::TimeUnit::NANO : arrow::TimeUnit::MICRO);
    case ColumnKind::timestamp: return timestamp_type(word, plan.on_subsecond);
    case ColumnKind::tz_offset: return arrow::int16();
    case ColumnKind::binary: return arrow::binary();
    // Where the row type does not say whether elements are INT or FLOAT: float32 holds both, and a number it does not hold is
    // refused.
    case ColumnKind::vector:
      return arrow::list(arrow::field("element", plan.integers ? arrow::int32() : arrow::float32(), false));
    case ColumnKind::text:
    case ColumnKind::geography:
    case ColumnKind::decfloat:
    case ColumnKind::interval_months:
    case ColumnKind::interval_nanos: return arrow::utf8();
  }
  return arrow::utf8();
}

bool has_fraction_digits(ColumnKind kind) { return kind == ColumnKind::time || kind == ColumnKind::timestamp; }

[[noreturn]] void throw_unknown_types(const std::vector<std::string>& types, const std::string& column = {}) {
  throw ValueError("snowflake.unknown_type", fmt::format("snowmelt does not know how to keep {}", fmt::join(types, ", ")),
                   {.where = column.empty() ? "" : "column " + column,
                    .hint = "leave it out with drop = [\"…\"], or give the table a query that casts it: "
                            "query = \"select …, to_varchar(<column>) as <column>, … from …\""});
}

[[noreturn]] void throw_bad_scale(const SnowflakeColumn& column) {
  throw ValueError("snowflake.bad_row_type",
                   fmt::format("the server describes it as {} with precision {} and scale {}", column.type,
                               column.precision.value_or(0), column.scale.value_or(0)),
                   {.where = "column " + column.name});
}

// Types that the row type names by their carrier, under "<extension>" or "<extension> binary".
const std::map<std::string, TypeRow>& extension_table() {
  static const std::map<std::string, TypeRow> extensions{
      {"UUID", {ColumnKind::text, SourceWord::uuid}},
      {"GEOGRAPHY", {ColumnKind::text, SourceWord::geography}},
      {"GEOMETRY", {ColumnKind::text, SourceWord::geometry}},
      {"GEOGRAPHY binary", {ColumnKind::binary, SourceWord::geography}},
      {"GEOMETRY binary", {ColumnKind::binary, SourceWord::geometry}},
  };
  return extensions;
}

// The table's row for a column; nullptr for a type nobody knows. An extension's own name goes before its carrier's.
const TypeRow* type_row(const SnowflakeColumn& column) {
  const auto& extensions = extension_table();
  if (const auto found = extensions.find(column.extension + (column.type == "binary" ? " binary" : ""));
      found != extensions.end())
    return &found->second;
  const auto found = type_table().find(column.type);
  return found == type_table().end() ? nullptr : &found->second;
}

void plan_vector(const SnowflakeColumn& column, ColumnPlan& plan) {
  if (column.fields.empty()) return;
  plan.integers = column.fields.front().type == "fixed";
  // A dimension that no vector has says nothing: the values are held against the target's own.
  if (column.dimension && *column.dimension >= 1 && *column.dimension <= SourceType::kDimensionMax)
    plan.source_type = SourceType::vector(plan.integers, static_cast<int>(*column.dimension));
}

ColumnPlan plan_column(int index, const SnowflakeColumn& column, const TypeRow& row, const ColumnRules& rules,
                       PolicyCounts* policies) {
  ColumnPlan plan{.wire_column = index,
                  .kind = row.kind,
                  .name = column.name,
                  .zoned = row.zoned,
                  .on_subsecond = rules.on_subsecond,
                  .policies = policies};
  if (row.kind == ColumnKind::decimal) {
    plan.precision = column.precision.value_or(38);
    plan.scale = column.scale.value_or(0);
    if (plan.precision < 1 || plan.precision > 38 || plan.scale < 0 || plan.scale > plan.precision) throw_bad_scale(column);
    plan.source_type = SourceType::number(plan.precision, plan.scale);
    if (plan.scale == 0 && rules.integers == IntegerMode::bigint) plan.kind = ColumnKind::integer;
  } else if (has_fraction_digits(row.kind)) {
    plan.scale = column.scale.value_or(kNanosDigits);
    if (plan.scale < 0 || plan.scale > kNanosDigits) throw_bad_scale(column);
    plan.source_type = SourceType::with_digits(row.word, plan.scale);
  } else {
    plan.source_type = SourceType::of(row.word);
  }
  if (row.kind == ColumnKind::vector) {
    plan_vector(column, plan);
  } else if (row.kind == ColumnKind::text) {
    for (const SnowflakeColumn& field : column.fields) {
      const TypeRow* member = type_row(field);
      if (member == nullptr) throw_unknown_types({fmt::format("{} of type {}", field.name, field.type)}, column.name);
      // Members keep all their digits: JSON has room for them.
      plan.children.push_back(
          plan_column(0, field, *member, {.integers = IntegerMode::numeric, .on_subsecond = SubsecondMode::error}, nullptr));
    }
  }
  plan.type = file_type(plan, row.word);
  return plan;
}

// Upper case where the column's own name folds, so that both have one case in PostgreSQL.
std::string tz_offset_name(const std::string& name) {
  return name + (fold_to_postgres(name) != name ? "_TZ_OFFSET" : "_tz_offset");
}

// Names match exactly, else without regard to case where only one answers.
std::set<int> dropped_columns(const std::vector<SnowflakeColumn>& row_type, const std::vector<std::string>& names) {
  std::set<int> dropped;
  for (const std::string& name : names) {
    std::vector<int> exact, alike;
    for (int i = 0; i < static_cast<int>(row_type.size()); ++i) {
      if (row_type[i].name == name) exact.push_back(i);
      if (lower_case(row_type[i].name) == lower_case(name)) alike.push_back(i);
    }
    const std::vector<int>& found = exact.empty() ? alike : exact;
    if (found.size() != 1) {
      throw ValueError("types.unknown_column", fmt::format("drop names column {}, which is not there", name),
                       {.hint = "use the names of the source's columns"});
    }
    dropped.insert(found.front());
  }
  return dropped;
}

ColumnPlan plan_tz_offset(const ColumnPlan& instant) {
  ColumnPlan plan = instant;
  plan.kind = ColumnKind::tz_offset;
  plan.source_type = "NUMBER(4,0)";
  plan.type = arrow::int16();
  return plan;
}

void check_types_known(const std::vector<SnowflakeColumn>& row_type, const std::set<int>& dropped) {
  std::vector<std::string> unknown;
  for (int i = 0; i < static_cast<int>(row_type.size()); ++i) {
    const SnowflakeColumn& column = row_type[i];
    if (dropped.contains(i) || type_row(column) != nullptr) continue;
    unknown.push_back(fmt::format("column {} of type {}", column.name, column.type));
  }
  if (!unknown.empty()) throw_unknown_types(unknown);
}

// The array as it is, when the wire already has the file's type.
ArrayPtr same_type(const ColumnPlan& plan, const ArrayPtr& wire) {
  if (!wire->type()->Equals(*plan.type)) throw_wire_type(plan, *wire->type());
  return wire;
}

}  // namespace

ArrayPtr convert_by_kind(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row) {
  switch (plan.kind) {
    case ColumnKind::integer:
    case ColumnKind::decimal: return convert_number(plan, wire, first_row);
    case ColumnKind::text:
      if (arrow::is_nested(wire->type_id())) return convert_structured(plan, wire, first_row);
      return checked_text(plan, wire, first_row);
    case ColumnKind::real:
    case ColumnKind::boolean:
    case ColumnKind::date:
    case ColumnKind::binary: return same_type(plan, wire);
    case ColumnKind::time: return convert_time(plan, wire, first_row);
    case ColumnKind::timestamp:
    case ColumnKind::tz_offset: return convert_timestamp(plan, wire, first_row);
    case ColumnKind::geography: return convert_geography(plan, wire, first_row);
    case ColumnKind::vector: return convert_vector(plan, wire, first_row);
    case ColumnKind::decfloat: return convert_decfloat(plan, wire, first_row);
    case ColumnKind::interval_months:
    case ColumnKind::interval_nanos: return convert_interval(plan, wire, first_row);
  }
  throw_wire_type(plan, *wire->type());
}

void throw_value_error(const ColumnPlan& plan, int64_t row, std::string code, std::string message, std::string hint) {
  throw ValueError(std::move(code), std::move(message),
                   {.where = fmt::format("column {}, row {}", plan.name, row + 1), .hint = std::move(hint)});
}

void throw_wire_type(const ColumnPlan& plan, const arrow::DataType& found) {
  throw ValueError("snowflake.unexpected_wire_type",
                   fmt::format("{} arrived as Arrow {}, which it is not known to do", plan.source_type.text(), found.ToString()),
                   {.where = "column " + plan.name, .hint = "cast the column in a query, and report this with the type's name"});
}

WireConverter::WireConverter(const std::vector<SnowflakeColumn>& row_type, const ColumnRules& rules, PolicyCounts* policies)
    : on_out_of_range_(rules.on_out_of_range), policies_(policies) {
  const std::set<int> dropped = dropped_columns(row_type, rules.drop);
  check_types_known(row_type, dropped);
  arrow::FieldVector fields;
  const auto add = [&](ColumnPlan plan, const std::string& name, bool nullable) {
    fields.push_back(arrow::field(name, plan.type, nullable));
    columns_.push_back({name, plan.source_type, nullable});
    plans_.push_back(std::move(plan));
  };
  for (int i = 0; i < static_cast<int>(row_type.size()); ++i) {
    const SnowflakeColumn& column = row_type[i];
    wire_names_.push_back(column.name);
    if (dropped.contains(i)) continue;
    const ColumnPlan plan = plan_column(i, column, *type_row(column), rules, policies);
    add(plan, column.name, column.nullable);
    if (plan.zoned && rules.tz_offset) add(plan_tz_offset(plan), tz_offset_name(column.name), column.nullable);
  }
  if (fields.empty()) throw ValueError("types.no_columns", "no column is left to export", {.hint = "drop fewer columns"});
  schema_ = arrow::schema(std::move(fields));
}

WireConverter::~WireConverter() = default;

void WireConverter::check_wire_schema(const arrow::Schema& wire) const {
  if (wire.num_fields() != static_cast<int>(wire_names_.size())) {
    throw VerificationError("snowflake.columns_differ",
                            fmt::format("a result chunk has {} columns, the result {}", wire.num_fields(), wire_names_.size()));
  }
  for (int i = 0; i < wire.num_fields(); ++i) {
    if (wire.field(i)->name() == wire_names_[i]) continue;
    throw VerificationError("snowflake.columns_differ", fmt::format("column {} of a result chunk is {}, of the result {}", i + 1,
                                                                    wire.field(i)->name(), wire_names_[i]));
  }
}

std::shared_ptr<arrow::Array> WireConverter::convert_column(int field, const arrow::RecordBatch& wire, int64_t first_row) const {
  const ColumnPlan& plan = plans_[field];
  const bool may_null = on_out_of_range_ == RangeMode::null && columns_[field].nullable;
  const ArrayPtr& values = wire.column(plan.wire_column);
  ArrayPtr array = may_null ? in_range(plan, values, first_row) : convert_by_kind(plan, values, first_row);
  // Parquet would write such a null as a value: NOT NULL columns have no room for it.
  if (!columns_[field].nullable && array->null_count() > 0) {
    throw ValueError("snowflake.null_in_not_null", "a column that the result declares NOT NULL holds NULL",
                     {.where = "column " + plan.name});
  }
  return array;
}

// Row by row only where the whole column does not pass.
ArrayPtr WireConverter::in_range(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row) const {
  const auto out_of_range = [](const Error& error) {
    return error.code() == "snowflake.integer_out_of_range" || error.code() == "snowflake.timestamp_out_of_range";
  };
  try {
    return convert_by_kind(plan, wire, first_row);
  } catch (const Error& error) {
    if (!out_of_range(error)) throw;
  }
  arrow::ArrayVector rows;
  for (int64_t i = 0; i < wire->length(); ++i) {
    try {
      rows.push_back(convert_by_kind(plan, wire->Slice(i, 1), first_row + i));
    } catch (const Error& error) {
      if (!out_of_range(error)) throw;
      rows.push_back(take(arrow::MakeArrayOfNull(plan.type, 1)));
      if (policies_ != nullptr) ++policies_->on_out_of_range;
    }
  }
  return take(arrow::Concatenate(rows));
}

std::shared_ptr<arrow::RecordBatch> WireConverter::convert(const arrow::RecordBatch& wire, int64_t first_row) const {
  arrow::ArrayVector arrays;
  for (int field = 0; field < schema_->num_fields(); ++field) arrays.push_back(convert_column(field, wire, first_row));
  return arrow::RecordBatch::Make(schema_, wire.num_rows(), std::move(arrays));
}

std::vector<std::shared_ptr<arrow::RecordBatch>> WireConverter::cut(const std::shared_ptr<arrow::RecordBatch>& wire) const {
  constexpr int64_t kJsonBytesMax = 64 << 20;
  std::vector<std::shared_ptr<arrow::Array>> structured;
  for (const ColumnPlan& plan : plans_) {
    const auto& array = wire->column(plan.wire_column);
    if (plan.kind == ColumnKind::text && arrow::is_nested(array->type_id())) structured.push_back(array);
  }
  const auto fits = [&](int64_t begin, int64_t count) {
    int64_t left = kJsonBytesMax;
    return std::all_of(structured.begin(), structured.end(), [&](const auto& array) {
      left -= std::min(left, json_bytes_max(*array, begin, count));
      return left > 0;
    });
  };
  std::vector<std::shared_ptr<arrow::RecordBatch>> pieces;
  for (int64_t begin = 0; begin < wire->num_rows();) {
    int64_t count = wire->num_rows() - begin;
    while (count > 1 && !fits(begin, count)) count = (count + 1) / 2;
    pieces.push_back(count == wire->num_rows() ? wire : wire->Slice(begin, count));
    begin += count;
  }
  return pieces;
}

std::shared_ptr<arrow::RecordBatch> WireConverter::convert_rows(const std::vector<Row>& rows, int64_t first_row) const {
  for (const Row& row : rows) {
    if (row.size() == wire_names_.size()) continue;
    throw VerificationError("snowflake.columns_differ",
                            fmt::format("a row has {} values, the result {} columns", row.size(), wire_names_.size()));
  }
  arrow::ArrayVector arrays;
  for (int field = 0; field < schema_->num_fields(); ++field) {
    arrays.push_back(convert_text_values(plans_[field], rows, first_row));
    if (!columns_[field].nullable && arrays.back()->null_count() > 0) {
      throw ValueError("snowflake.null_in_not_null", "a column that the result declares NOT NULL holds NULL",
                       {.where = "column " + plans_[field].name});
    }
  }
  return arrow::RecordBatch::Make(schema_, static_cast<int64_t>(rows.size()), std::move(arrays));
}

std::vector<SnowflakeColumn> known_types() {
  std::vector<SnowflakeColumn> samples;
  const auto add = [&](const std::string& type, const std::string& extension) {
    SnowflakeColumn column;
    column.name = "C";
    column.type = type;
    column.extension = extension;
    samples.push_back(std::move(column));
  };
  for (const auto& [word, row] : type_table()) add(word, "");
  for (const auto& [word, row] : extension_table()) {
    const bool binary = word.ends_with(" binary");
    add(binary                                           ? "binary"
        : row.kind == ColumnKind::text && word == "UUID" ? "text"
                                                         : "object",
        std::string(kSourceWords[static_cast<size_t>(row.word)]));
  }
  return samples;
}

bool is_known_type(const SnowflakeColumn& column) { return type_row(column) != nullptr; }

std::vector<SnowflakeColumn> row_type_of(const std::vector<ColumnDescription>& description) {
  static const std::set<std::string> kept{"fixed", "real", "boolean"};
  std::vector<SnowflakeColumn> row_type;
  for (const ColumnDescription& column : description) {
    SnowflakeColumn result;
    result.name = column.name;
    result.type = kept.contains(column.type) ? column.type : "text";
    result.precision = column.precision;
    result.scale = column.scale;
    result.length = column.length;
    result.nullable = column.nullable;
    row_type.push_back(std::move(result));
  }
  return row_type;
}

}  // namespace snowmelt
