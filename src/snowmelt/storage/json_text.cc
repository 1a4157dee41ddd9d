#include "snowmelt/storage/json_text.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

struct NotJson {
  const char* why;
};
struct TooLong {};

struct Text {
  std::string text{};
  size_t bytes_max = 0;
};

void append_text(std::string_view text, Text& out) {
  try {
    out.text += nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw NotJson{"a text inside it is not valid UTF-8"};
  }
}

template <typename Array>
void append_number(const arrow::Array& values, int64_t i, Text& out) {
  const auto value = static_cast<const Array&>(values).Value(i);
  if constexpr (std::is_floating_point_v<decltype(value)>) {
    if (!std::isfinite(value)) throw NotJson{"it holds NaN or an infinity, which JSON has not"};
  }
  fmt::format_to(std::back_inserter(out.text), "{}", value);
}

// A damaged file's number may have more digits than its type: nobody else would look, for JSON has room for them.
template <typename Array>
void append_decimal(const arrow::Array& values, int64_t i, Text& out) {
  const std::string text = static_cast<const Array&>(values).FormatValue(i);
  int digits = 0;
  for (const char c : text) {
    if (c == 'E') break;
    if (c >= '0' && c <= '9' && (digits > 0 || c != '0')) ++digits;
  }
  if (digits > static_cast<const arrow::DecimalType&>(*values.type()).precision())
    throw NotJson{"a number inside it has more digits than its type"};
  out.text += text;
}

void append(const arrow::Array& values, int64_t i, Text& out);

void append_list(const arrow::Array& items, int64_t begin, int64_t end, Text& out) {
  out.text += '[';
  for (int64_t i = begin; i < end; ++i) {
    if (i > begin) out.text += ',';
    append(items, i, out);
  }
  out.text += ']';
}

void append_map(const arrow::MapArray& map, int64_t i, Text& out) {
  out.text += '{';
  for (int64_t at = map.value_offset(i); at < map.value_offset(i + 1); ++at) {
    if (at > map.value_offset(i)) out.text += ',';
    Text key{.bytes_max = out.bytes_max};
    append(*map.keys(), at, key);
    key.text.starts_with('"') ? void(out.text += key.text) : append_text(key.text, out);
    out.text += ':';
    append(*map.items(), at, out);
  }
  out.text += '}';
}

void append_struct(const arrow::StructArray& row, int64_t i, Text& out) {
  out.text += '{';
  for (int f = 0; f < row.num_fields(); ++f) {
    if (f > 0) out.text += ',';
    append_text(row.struct_type()->field(f)->name(), out);
    out.text += ':';
    append(*row.field(f), i, out);
  }
  out.text += '}';
}

void append_scalar_text(const arrow::Array& values, int64_t i, Text& out) {
  const auto scalar = values.GetScalar(i);
  if (!scalar.ok()) throw NotJson{"a value inside it cannot be read"};
  const std::string text = (*scalar)->ToString();
  // Arrow's word for a time beyond the day, and a date or timestamp beyond its calendar: "<value out of range: -1>".
  if (arrow::is_temporal(values.type_id()) && text.starts_with('<')) throw NotJson{"a date or time inside it is out of range"};
  append_text(text, out);
}

void append(const arrow::Array& values, int64_t i, Text& out) {
  if (out.text.size() > out.bytes_max) throw TooLong();
  if (values.IsNull(i)) {
    out.text += "null";
    return;
  }
  switch (values.type_id()) {
    case arrow::Type::BOOL: out.text += static_cast<const arrow::BooleanArray&>(values).Value(i) ? "true" : "false"; return;
    case arrow::Type::INT8: append_number<arrow::Int8Array>(values, i, out); return;
    case arrow::Type::INT16: append_number<arrow::Int16Array>(values, i, out); return;
    case arrow::Type::INT32: append_number<arrow::Int32Array>(values, i, out); return;
    case arrow::Type::INT64: append_number<arrow::Int64Array>(values, i, out); return;
    case arrow::Type::UINT8: append_number<arrow::UInt8Array>(values, i, out); return;
    case arrow::Type::UINT16: append_number<arrow::UInt16Array>(values, i, out); return;
    case arrow::Type::UINT32: append_number<arrow::UInt32Array>(values, i, out); return;
    case arrow::Type::UINT64: append_number<arrow::UInt64Array>(values, i, out); return;
    case arrow::Type::FLOAT: append_number<arrow::FloatArray>(values, i, out); return;
    case arrow::Type::DOUBLE: append_number<arrow::DoubleArray>(values, i, out); return;
    case arrow::Type::DECIMAL32: append_decimal<arrow::Decimal32Array>(values, i, out); return;
    case arrow::Type::DECIMAL64: append_decimal<arrow::Decimal64Array>(values, i, out); return;
    case arrow::Type::DECIMAL128: append_decimal<arrow::Decimal128Array>(values, i, out); return;
    case arrow::Type::DECIMAL256: append_decimal<arrow::Decimal256Array>(values, i, out); return;
    case arrow::Type::STRING: append_text(static_cast<const arrow::StringArray&>(values).GetView(i), out); return;
    case arrow::Type::LARGE_STRING: append_text(static_cast<const arrow::LargeStringArray&>(values).GetView(i), out); return;
    case arrow::Type::STRING_VIEW: append_text(static_cast<const arrow::StringViewArray&>(values).GetView(i), out); return;
    case arrow::Type::STRUCT: append_struct(static_cast<const arrow::StructArray&>(values), i, out); return;
    case arrow::Type::MAP: append_map(static_cast<const arrow::MapArray&>(values), i, out); return;
    case arrow::Type::LIST: {
      const auto& list = static_cast<const arrow::ListArray&>(values);
      return append_list(*list.values(), list.value_offset(i), list.value_offset(i + 1), out);
    }
    case arrow::Type::LARGE_LIST: {
      const auto& list = static_cast<const arrow::LargeListArray&>(values);
      return append_list(*list.values(), list.value_offset(i), list.value_offset(i + 1), out);
    }
    case arrow::Type::FIXED_SIZE_LIST: {
      const auto& list = static_cast<const arrow::FixedSizeListArray&>(values);
      return append_list(*list.values(), list.value_offset(i), list.value_offset(i + 1), out);
    }
    case arrow::Type::DICTIONARY: {
      const auto& dictionary = static_cast<const arrow::DictionaryArray&>(values);
      return append(*dictionary.dictionary(), dictionary.GetValueIndex(i), out);
    }
    default: append_scalar_text(values, i, out); return;
  }
}

}  // namespace

bool json_knows(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::BINARY:
    case arrow::Type::LARGE_BINARY:
    case arrow::Type::BINARY_VIEW:
    case arrow::Type::FIXED_SIZE_BINARY:
    case arrow::Type::HALF_FLOAT: return false;
    case arrow::Type::DICTIONARY: return json_knows(*static_cast<const arrow::DictionaryType&>(type).value_type());
    default: break;
  }
  for (const auto& field : type.fields()) {
    if (!json_knows(*field->type())) return false;
  }
  return true;
}

std::shared_ptr<arrow::Array> json_texts(const arrow::Array& values, const std::string& column, int64_t first_row,
                                         size_t text_bytes_max) {
  arrow::StringBuilder builder;
  Text value{.bytes_max = text_bytes_max};
  for (int64_t i = 0; i < values.length(); ++i) {
    if (values.IsNull(i)) {
      if (!builder.AppendNull().ok()) throw std::bad_alloc();
      continue;
    }
    value.text.clear();
    try {
      append(values, i, value);
    } catch (const NotJson& problem) {
      throw ValueError("copy.not_json", fmt::format("the value has no JSON form: {}", problem.why),
                       {.where = fmt::format("column {}, row {}", column, first_row + i),
                        .hint = "leave the column out with drop = [\"…\"], or mend the file"});
    } catch (const TooLong&) {
      throw ValueError("copy.json_too_long", fmt::format("the value's JSON text has more than {} bytes", text_bytes_max),
                       {.where = fmt::format("column {}, row {}", column, first_row + i),
                        .hint = "leave the column out with drop = [\"…\"], or take its members apart in a query"});
    }
    const arrow::Status appended = builder.Append(value.text);
    if (!appended.ok()) throw ValueError("copy.batch_too_large", appended.message(), {.where = "column " + column});
  }
  std::shared_ptr<arrow::Array> texts;
  if (!builder.Finish(&texts).ok()) throw std::bad_alloc();
  return texts;
}

size_t find_json_nul(std::string_view json, size_t from) {
  for (size_t at = json.find("\\u0000", from); at != std::string_view::npos; at = json.find("\\u0000", at + 1)) {
    size_t backslashes = 0;
    while (backslashes < at && json[at - 1 - backslashes] == '\\') ++backslashes;
    if (backslashes % 2 == 0) return at;
  }
  return std::string_view::npos;
}

}  // namespace snowmelt
