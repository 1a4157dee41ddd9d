// Columns from text: JSON results, and rows of cursors that give nothing else. Also the wire types that end as text.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "snowmelt/extract/column_plan.h"
#include "snowmelt/extract/number_text.h"
#include "snowmelt/extract/time_units.h"
#include "snowmelt/storage/durable_file.h"
#include "snowmelt/storage/utf8.h"

namespace snowmelt {
namespace {

[[noreturn]] void throw_bad_text(const ColumnPlan& plan, int64_t row) {
  throw_value_error(plan, row, "snowflake.bad_text",
                    fmt::format("the text the server sent is not a {}", plan.source_type.text()));
}

// Appends a value for each row; `append(builder, text, row)` is called for those that are not NULL.
template <typename Builder, typename Append>
ArrayPtr build(const ColumnPlan& plan, const std::vector<Row>& rows, int64_t first_row, Append&& append) {
  std::unique_ptr<arrow::ArrayBuilder> base;
  take(arrow::MakeBuilder(arrow::default_memory_pool(), plan.type, &base));
  auto& builder = static_cast<Builder&>(*base);
  take(builder.Reserve(static_cast<int64_t>(rows.size())));
  int64_t row = first_row;
  for (const Row& values : rows) {
    const Value& value = values[plan.wire_column];
    if (value) {
      append(builder, std::string_view(*value), row);
    } else {
      take(builder.AppendNull());
    }
    ++row;
  }
  return take(builder.Finish());
}

int128_t number_or_throw(const ColumnPlan& plan, std::string_view text, int64_t row) {
  const auto value = parse_decimal(text, plan.scale);
  if (!value) throw_bad_text(plan, row);
  return *value;
}

ArrayPtr decimals_of_text(const ColumnPlan& plan, const std::vector<Row>& rows, int64_t first_row) {
  // Through DECIMAL128, so that the checks and the carriers are those of the wire's numbers.
  ColumnPlan wide = plan;
  wide.type = arrow::decimal128(38, plan.scale);
  const ArrayPtr values =
      build<arrow::Decimal128Builder>(wide, rows, first_row, [&](auto& builder, std::string_view text, int64_t row) {
        const int128_t value = number_or_throw(plan, text, row);
        take(builder.Append(arrow::Decimal128(static_cast<int64_t>(value >> 64), static_cast<uint64_t>(value))));
      });
  return convert_number(plan, values, first_row);
}

double real_or_throw(const ColumnPlan& plan, std::string_view text, int64_t row) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);  // knows "nan", "inf", "-inf" too
  if (error == std::errc() && end == text.data() + text.size()) return value;
  throw_bad_text(plan, row);
}

bool boolean_or_throw(const ColumnPlan& plan, std::string_view text, int64_t row) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower == "1" || lower == "true") return true;
  if (lower == "0" || lower == "false") return false;
  throw_bad_text(plan, row);
}

std::string bytes_or_throw(const ColumnPlan& plan, std::string_view hex, int64_t row) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    unsigned int byte = 0;
    const auto [end, error] = std::from_chars(hex.data() + i, hex.data() + i + 2, byte, 16);
    if (error != std::errc() || end != hex.data() + i + 2) throw_bad_text(plan, row);
    bytes += static_cast<char>(byte);
  }
  if (hex.size() % 2 != 0) throw_bad_text(plan, row);
  return bytes;
}

// "1700000000.123456789", for TIMESTAMP_TZ followed by " 1440": split into the wire's own parts, so that one code converts both.
ArrayPtr timestamps_of_text(const ColumnPlan& plan, const std::vector<Row>& rows, int64_t first_row) {
  arrow::Int64Builder epoch;
  arrow::Int64Builder fraction;
  arrow::Int64Builder zone;
  const auto append = [](arrow::Int64Builder& builder, int64_t value) { take(builder.Append(value)); };
  std::vector<bool> valid;
  for (size_t i = 0; i < rows.size(); ++i) {
    const Value& value = rows[i][plan.wire_column];
    const int64_t row = first_row + static_cast<int64_t>(i);
    valid.push_back(value.has_value());
    const std::string_view text = value ? std::string_view(*value) : "0";
    const size_t space = text.find(' ');
    if (value && (space != std::string_view::npos) != plan.zoned) throw_bad_text(plan, row);
    const auto nanos = parse_decimal(text.substr(0, space), 9);
    const auto minutes =
        space == std::string_view::npos ? std::optional<int128_t>(1'440) : parse_decimal(text.substr(space + 1), 0);
    if (!nanos || !minutes || *minutes != static_cast<int64_t>(*minutes)) throw_bad_text(plan, row);
    const int128_t second = kPowersOfTen[9];
    const int128_t rest = (*nanos % second + second) % second;
    append(epoch, static_cast<int64_t>((*nanos - rest) / second));
    append(fraction, static_cast<int64_t>(rest));
    append(zone, static_cast<int64_t>(*minutes));
  }
  arrow::TypedBufferBuilder<bool> bitmap;
  for (const bool bit : valid) take(bitmap.Append(bit));
  const int64_t nulls = bitmap.false_count();
  arrow::ArrayVector children{take(epoch.Finish()), take(fraction.Finish())};
  std::vector<std::string> names{"epoch", "fraction"};
  if (plan.zoned) {
    children.push_back(take(zone.Finish()));
    names.emplace_back("timezone");
  }
  const auto parts = take(arrow::StructArray::Make(children, names, take(bitmap.Finish()), nulls));
  return convert_timestamp(plan, parts, first_row);
}

ArrayPtr times_of_text(const ColumnPlan& plan, const std::vector<Row>& rows, int64_t first_row) {
  ColumnPlan units = plan;
  units.type = arrow::int64();
  const ArrayPtr values =
      build<arrow::Int64Builder>(units, rows, first_row, [&](auto& builder, std::string_view text, int64_t row) {
        const int128_t value = number_or_throw(plan, text, row);
        if (value != static_cast<int64_t>(value)) throw_bad_text(plan, row);
        take(builder.Append(static_cast<int64_t>(value)));
      });
  return convert_time(plan, values, first_row);
}

void append_vector(const ColumnPlan& plan, arrow::ListBuilder& builder, std::string_view text, int64_t row) {
  if (text.size() < 2 || text.front() != '[' || text.back() != ']') throw_bad_text(plan, row);
  text = text.substr(1, text.size() - 2);
  take(builder.Append());
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    std::string_view number = text.substr(0, comma);
    while (number.starts_with(' ')) number.remove_prefix(1);
    const auto append = [&](auto value, auto& elements) {
      const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
      if (error != std::errc() || end != number.data() + number.size()) throw_bad_text(plan, row);
      take(elements.Append(value));
    };
    if (plan.integers)
      append(int32_t{}, static_cast<arrow::Int32Builder&>(*builder.value_builder()));
    else
      append(float{}, static_cast<arrow::FloatBuilder&>(*builder.value_builder()));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
}

ArrayPtr plain_text(const ColumnPlan& plan, const std::vector<Row>& rows, int64_t first_row) {
  return build<arrow::StringBuilder>(plan, rows, first_row,
                                     [](auto& builder, std::string_view text, int64_t) { take(builder.Append(text)); });
}

}  // namespace

ArrayPtr convert_text_values(const ColumnPlan& plan, const std::vector<Row>& rows, int64_t first_row) {
  switch (plan.kind) {
    case ColumnKind::integer:
    case ColumnKind::decimal: return decimals_of_text(plan, rows, first_row);
    case ColumnKind::time: return times_of_text(plan, rows, first_row);
    case ColumnKind::timestamp:
    case ColumnKind::tz_offset: return timestamps_of_text(plan, rows, first_row);
    case ColumnKind::real:
      return build<arrow::DoubleBuilder>(plan, rows, first_row, [&](auto& builder, std::string_view text, int64_t row) {
        take(builder.Append(real_or_throw(plan, text, row)));
      });
    case ColumnKind::boolean:
      return build<arrow::BooleanBuilder>(plan, rows, first_row, [&](auto& builder, std::string_view text, int64_t row) {
        take(builder.Append(boolean_or_throw(plan, text, row)));
      });
    case ColumnKind::date:
      return build<arrow::Date32Builder>(plan, rows, first_row, [&](auto& builder, std::string_view text, int64_t row) {
        const int128_t days = number_or_throw(plan, text, row);
        if (days != static_cast<int32_t>(days)) throw_bad_text(plan, row);
        take(builder.Append(static_cast<int32_t>(days)));
      });
    case ColumnKind::binary:
      return build<arrow::BinaryBuilder>(plan, rows, first_row, [&](auto& builder, std::string_view text, int64_t row) {
        take(builder.Append(bytes_or_throw(plan, text, row)));
      });
    case ColumnKind::vector:
      return build<arrow::ListBuilder>(plan, rows, first_row, [&](auto& builder, std::string_view text, int64_t row) {
        append_vector(plan, builder, text, row);
      });
    case ColumnKind::text:
    case ColumnKind::geography:
    case ColumnKind::decfloat:
    case ColumnKind::interval_months:
    case ColumnKind::interval_nanos: return plain_text(plan, rows, first_row);
  }
  return plain_text(plan, rows, first_row);
}

ArrayPtr hex_texts(const arrow::BinaryArray& bytes) {
  arrow::StringBuilder builder;
  for (int64_t i = 0; i < bytes.length(); ++i)
    take(bytes.IsNull(i) ? builder.AppendNull() : builder.Append(to_hex(bytes.GetView(i))));
  return take(builder.Finish());
}

ArrayPtr checked_text(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row) {
  if (wire->type_id() != arrow::Type::STRING) throw_wire_type(plan, *wire->type());
  const auto& texts = static_cast<const arrow::StringArray&>(*wire);
  if (texts.length() == 0 || are_utf8(texts.raw_data(), texts.raw_value_offsets(), texts.length())) return wire;
  // What lies under a null is of no account: look again, value by value.
  for (int64_t i = 0; i < texts.length(); ++i) {
    if (texts.IsNull(i)) continue;
    const std::string_view text = texts.GetView(i);
    if (!is_utf8(reinterpret_cast<const uint8_t*>(text.data()), static_cast<int64_t>(text.size()))) {
      throw_value_error(plan, first_row + i, "snowflake.invalid_utf8", "the text is not valid UTF-8",
                        "leave the column out with drop = [\"…\"], or cast it to binary in a query");
    }
  }
  return wire;
}

ArrayPtr convert_geography(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row) {
  if (wire->type_id() == arrow::Type::STRING) return checked_text(plan, wire, first_row);
  if (wire->type_id() != arrow::Type::BINARY) throw_wire_type(plan, *wire->type());
  // WKB and EWKB output formats: as hex, the text that PostGIS reads, so that the column is text whatever the session says.
  return hex_texts(static_cast<const arrow::BinaryArray&>(*wire));
}

ArrayPtr convert_vector(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row) {
  if (wire->type_id() != arrow::Type::FIXED_SIZE_LIST) throw_wire_type(plan, *wire->type());
  const auto& lists = static_cast<const arrow::FixedSizeListArray&>(*wire);
  const arrow::Array& elements = *lists.values();
  const bool floats = elements.type_id() == arrow::Type::FLOAT;
  if (!floats && elements.type_id() != arrow::Type::INT32) throw_wire_type(plan, *wire->type());
  if (plan.integers && floats) throw_wire_type(plan, *wire->type());
  auto integers = std::make_shared<arrow::Int32Builder>();
  auto values = std::make_shared<arrow::FloatBuilder>();
  std::shared_ptr<arrow::ArrayBuilder> child = plan.integers ? std::static_pointer_cast<arrow::ArrayBuilder>(integers) : values;
  arrow::ListBuilder builder(arrow::default_memory_pool(), child, plan.type);
  for (int64_t i = 0; i < lists.length(); ++i) {
    if (lists.IsNull(i)) {
      take(builder.AppendNull());
      continue;
    }
    take(builder.Append());
    for (int64_t k = lists.value_offset(i); k < lists.value_offset(i + 1); ++k) {
      if (elements.IsNull(k))
        throw_value_error(plan, first_row + i, "snowflake.null_in_vector", "an element of a VECTOR is NULL");
      if (plan.integers) {
        take(integers->Append(static_cast<const arrow::Int32Array&>(elements).Value(k)));
        continue;
      }
      const double exact = floats ? static_cast<double>(static_cast<const arrow::FloatArray&>(elements).Value(k))
                                  : static_cast<double>(static_cast<const arrow::Int32Array&>(elements).Value(k));
      const auto kept = static_cast<float>(exact);
      if (static_cast<double>(kept) != exact && !std::isnan(exact)) {
        throw_value_error(plan, first_row + i, "snowflake.vector_element_out_of_range",
                          "an element of a VECTOR(INT) has more than 24 bits", "cast the column to array in a query");
      }
      take(values->Append(kept));
    }
  }
  return take(builder.Finish());
}

}  // namespace snowmelt
