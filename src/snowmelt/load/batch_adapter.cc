#include "snowmelt/load/batch_adapter.h"

#include <arrow/compute/api.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <limits>

#include "snowmelt/error.h"
#include "snowmelt/load/type_map.h"
#include "snowmelt/names.h"
#include "snowmelt/storage/json_text.h"

namespace snowmelt {
namespace {

constexpr int64_t kBlockRows = 1024;

template <typename T>
T take(arrow::Result<T>&& result) {
  if (!result.ok()) throw BugError("load.arrow", result.status().ToString());
  return std::move(result).ValueUnsafe();
}

bool needs_json(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::STRUCT:
    case arrow::Type::MAP: return true;
    case arrow::Type::LIST:
    case arrow::Type::LARGE_LIST:
    case arrow::Type::FIXED_SIZE_LIST: {
      const arrow::DataType& element = *type.field(0)->type();
      return needs_json(element) || arrow::is_list_like(element.id());
    }
    default: return false;
  }
}

// The form that a codec reads; the same type where it is that already.
std::shared_ptr<arrow::DataType> decoded_type(const std::shared_ptr<arrow::DataType>& type) {
  switch (type->id()) {
    case arrow::Type::DICTIONARY: return decoded_type(static_cast<const arrow::DictionaryType&>(*type).value_type());
    case arrow::Type::STRING_VIEW: return arrow::utf8();
    case arrow::Type::BINARY_VIEW: return arrow::binary();
    case arrow::Type::NA: return arrow::utf8();  // all NULL, of no type: any column takes that
    case arrow::Type::LIST: return arrow::list(decoded_type(type->field(0)->type()));
    case arrow::Type::LARGE_LIST: return arrow::large_list(decoded_type(type->field(0)->type()));
    case arrow::Type::FIXED_SIZE_LIST: return arrow::list(decoded_type(type->field(0)->type()));
    default: return type;
  }
}

// The field that a name of the configuration means: exactly, else without regard to case where only one answers. -1: none.
int field_named(const arrow::Schema& schema, const std::string& name) {
  const int exact = schema.GetFieldIndex(name);
  if (exact >= 0) return exact;
  int found = -1;
  for (int i = 0; i < schema.num_fields(); ++i) {
    if (lower_case(schema.field(i)->name()) != lower_case(name)) continue;
    if (found >= 0) return -1;
    found = i;
  }
  return found;
}

std::map<int, std::string> by_field(const arrow::Schema& schema, const std::map<std::string, std::string>& choices,
                                    const char* key, std::vector<std::string>& problems) {
  std::map<int, std::string> found;
  for (const auto& [name, value] : choices) {
    const int field = field_named(schema, name);
    if (field < 0)
      problems.push_back(fmt::format("{} names column {}, which is not there", key, name));
    else
      found[field] = value;
  }
  return found;
}

bool is_text(const arrow::DataType& type) { return type.id() == arrow::Type::STRING || type.id() == arrow::Type::LARGE_STRING; }

bool has_nul(const arrow::ArrayData& data) {
  const auto scan = [&](auto offset) {
    const auto* offsets = data.GetValues<decltype(offset)>(1);
    if (data.length == 0 || data.buffers[2] == nullptr) return false;
    return std::memchr(data.buffers[2]->data() + offsets[0], 0, static_cast<size_t>(offsets[data.length] - offsets[0])) !=
           nullptr;
  };
  return data.type->id() == arrow::Type::STRING ? scan(int32_t{}) : scan(int64_t{});
}

template <typename Builder, typename Array>
std::shared_ptr<arrow::Array> without_nuls(const Array& array, std::string_view instead, std::atomic<int64_t>& count) {
  Builder builder;
  std::string text;
  for (int64_t i = 0; i < array.length(); ++i) {
    if (array.IsNull(i)) {
      if (!builder.AppendNull().ok()) throw std::bad_alloc();
      continue;
    }
    const std::string_view value = array.GetView(i);
    if (value.find('\0') == std::string_view::npos) {
      if (!builder.Append(value).ok()) throw std::bad_alloc();
      continue;
    }
    ++count;
    text.clear();
    for (const char c : value) c == '\0' ? void(text += instead) : text.push_back(c);
    if (!builder.Append(text).ok()) throw std::bad_alloc();
  }
  return take(builder.Finish());
}

std::shared_ptr<arrow::ArrayData> mend_nuls(const std::shared_ptr<arrow::ArrayData>& data, NulMode mode, PolicyCounts& counts) {
  if (!has_nul(*data)) return data;
  const std::string_view instead = mode == NulMode::strip ? "" : "\xEF\xBF\xBD";
  const auto array = arrow::MakeArray(data);
  if (data->type->id() == arrow::Type::STRING) {
    return without_nuls<arrow::StringBuilder>(static_cast<const arrow::StringArray&>(*array), instead, counts.on_nul)->data();
  }
  return without_nuls<arrow::LargeStringBuilder>(static_cast<const arrow::LargeStringArray&>(*array), instead, counts.on_nul)
      ->data();
}

std::shared_ptr<arrow::ArrayData> mend_json_nuls(const std::shared_ptr<arrow::ArrayData>& data, NulMode mode,
                                                 PolicyCounts& counts) {
  if (data->type->id() != arrow::Type::STRING) return data;  // JSON of 2 GB a batch: the server's refusal stands
  const arrow::StringArray array(data);
  const std::string_view instead = mode == NulMode::strip ? "" : "\\ufffd";
  arrow::StringBuilder builder;
  bool changed = false;
  for (int64_t i = 0; i < array.length(); ++i) {
    if (array.IsNull(i)) {
      if (!builder.AppendNull().ok()) throw std::bad_alloc();
      continue;
    }
    std::string text(array.GetView(i));
    bool mended = false;
    for (size_t at = find_json_nul(text, 0); at != std::string::npos; at = find_json_nul(text, at)) {
      text.replace(at, std::string_view("\\u0000").size(), instead);
      at += instead.size();
      mended = true;
    }
    if (mended) ++counts.on_nul;
    changed = changed || mended;
    if (!builder.Append(text).ok()) throw std::bad_alloc();
  }
  return changed ? take(builder.Finish())->data() : data;
}

// Nanoseconds whose digits below the microsecond are given up; the type stays, and the codec finds multiples of 1,000.
std::shared_ptr<arrow::ArrayData> shorten_nanos(const std::shared_ptr<arrow::ArrayData>& data, SubsecondMode mode,
                                                PolicyCounts& counts) {
  constexpr int64_t kNanos = 1'000;
  const int64_t* values = data->GetValues<int64_t>(1);
  std::shared_ptr<arrow::Buffer> buffer;
  int64_t* out = nullptr;
  for (int64_t i = 0; i < data->length; ++i) {
    const int64_t rest = (values[i] % kNanos + kNanos) % kNanos;
    if (rest == 0 || data->IsNull(i)) continue;
    if (out == nullptr) {
      const size_t bytes = static_cast<size_t>(data->length) * sizeof(int64_t);
      buffer = take(arrow::AllocateBuffer((data->offset + data->length) * static_cast<int64_t>(sizeof(int64_t))));
      out = reinterpret_cast<int64_t*>(buffer->mutable_data()) + data->offset;
      std::memcpy(out, values, bytes);
    }
    const int64_t below = values[i] < std::numeric_limits<int64_t>::min() + rest ? values[i] : values[i] - rest;
    const bool up = mode == SubsecondMode::round && (2 * rest > kNanos || (2 * rest == kNanos && (below / kNanos) % 2 != 0));
    out[i] = up && below <= std::numeric_limits<int64_t>::max() - kNanos ? below + kNanos : below;
    ++counts.on_subsecond;
  }
  if (out == nullptr) return data;
  const auto shortened = data->Copy();
  shortened->buffers[1] = std::move(buffer);
  return shortened;
}

bool has_nanos(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::TIMESTAMP: return static_cast<const arrow::TimestampType&>(type).unit() == arrow::TimeUnit::NANO;
    case arrow::Type::TIME64: return static_cast<const arrow::Time64Type&>(type).unit() == arrow::TimeUnit::NANO;
    case arrow::Type::DURATION: return static_cast<const arrow::DurationType&>(type).unit() == arrow::TimeUnit::NANO;
    default: return false;
  }
}

bool fits(const EncoderColumn& column, const arrow::ArrayData& data, int64_t begin, int64_t rows, int64_t first_row,
          std::vector<uint32_t>& sizes, CodecScratch& scratch) {
  std::fill_n(sizes.begin(), rows, 0u);
  try {
    const ColumnBlock block{.data = data, .begin = data.offset + begin, .rows = rows, .first_row = first_row + begin};
    column.codec->measure(column, block, sizes.data(), scratch);
    return true;
  } catch (const Error& error) {
    if (error.code() != "copy.out_of_range") throw;
    return false;
  }
}

// Measured once more than usual: only where the policy is asked for.
std::shared_ptr<arrow::ArrayData> null_out_of_range(const EncoderColumn& column, const std::shared_ptr<arrow::ArrayData>& data,
                                                    int64_t first_row, PolicyCounts& counts) {
  std::vector<uint32_t> sizes(kBlockRows);
  CodecScratch scratch;
  std::vector<int64_t> offenders;
  for (int64_t begin = 0; begin < data->length; begin += kBlockRows) {
    const int64_t rows = std::min(kBlockRows, data->length - begin);
    if (fits(column, *data, begin, rows, first_row, sizes, scratch)) continue;
    for (int64_t i = begin; i < begin + rows; ++i) {
      if (!fits(column, *data, i, 1, first_row, sizes, scratch)) offenders.push_back(i);
    }
  }
  if (offenders.empty()) return data;
  const auto bits = std::shared_ptr<arrow::Buffer>(take(arrow::AllocateBitmap(data->offset + data->length)));
  for (int64_t i = 0; i < data->length; ++i) arrow::bit_util::SetBitTo(bits->mutable_data(), data->offset + i, data->IsValid(i));
  for (const int64_t i : offenders) arrow::bit_util::ClearBit(bits->mutable_data(), data->offset + i);
  const auto mended = data->Copy();
  mended->buffers[0] = bits;
  mended->SetNullCount(arrow::kUnknownNullCount);
  counts.on_out_of_range += static_cast<int64_t>(offenders.size());
  return mended;
}

std::shared_ptr<arrow::Array> decoded(const arrow::Array& values, const std::shared_ptr<arrow::DataType>& type,
                                      const std::string& column) {
  arrow::compute::CastOptions options = arrow::compute::CastOptions::Safe(type);
  options.allow_invalid_utf8 = true;  // the codec looks at texts, and names the row
  auto cast = arrow::compute::Cast(values, type, options);
  if (cast.ok()) return std::move(cast).ValueUnsafe();
  throw ValueError("copy.not_decoded", "the values cannot be read: " + cast.status().message(),
                   {.where = "column " + column, .hint = "leave the column out with drop = [\"…\"], or mend the file"});
}

}  // namespace

BatchAdapter::BatchAdapter(const arrow::Schema& file, const std::vector<SourceColumn>& source, const ColumnRules& rules) {
  std::vector<std::string> problems;
  const auto renamed = by_field(file, rules.rename, "rename", problems);
  const auto typed = by_field(file, rules.types, "types", problems);
  if (!problems.empty()) {
    throw ValueError("types.unknown_column", fmt::format("{}", fmt::join(problems, "; ")),
                     {.hint = "use the names of the source's columns"});
  }
  std::vector<int> dropped;
  for (const std::string& name : rules.drop) dropped.push_back(field_named(file, name));
  arrow::FieldVector fields;
  for (int i = 0; i < file.num_fields(); ++i) {
    if (std::find(dropped.begin(), dropped.end(), i) != dropped.end()) continue;
    const arrow::Field& field = *file.field(i);
    const auto new_name = renamed.find(i);
    const std::string name = new_name == renamed.end() ? field.name() : new_name->second;
    Column column{.field = i, .name = field.name(), .form = Form::plain, .type = field.type()};
    SourceType source_type = static_cast<size_t>(i) < source.size() ? source[i].source_type : SourceType();
    if (needs_json(*field.type()) && json_knows(*field.type())) {
      column.form = Form::json;
      column.type = arrow::utf8();
      const bool list = arrow::is_list_like(field.type()->id()) && field.type()->id() != arrow::Type::MAP;
      source_type = SourceType::of(list ? SourceWord::array : SourceWord::object);
    } else if (source_type.is(SourceWord::enum_)) {  // its bytes are text by definition
      column.form = Form::decoded;
      column.type = arrow::utf8();
    } else if (const auto plain = decoded_type(field.type()); !plain->Equals(*field.type())) {
      column.form = Form::decoded;
      column.type = plain;
    }
    if (const auto type = typed.find(i); type != typed.end()) types_[target_column_name(name)] = type->second;
    const bool nullable = static_cast<size_t>(i) < source.size() ? source[i].nullable : field.nullable();
    source_.push_back({name, source_type, nullable});
    fields.push_back(arrow::field(name, column.type, field.nullable()));
    columns_.push_back(std::move(column));
  }
  if (fields.empty()) {
    throw ValueError("types.no_columns", "no column is left to load", {.hint = "drop fewer columns"});
  }
  schema_ = arrow::schema(std::move(fields));
}

TableMetadata BatchAdapter::metadata_as_loaded(const TableMetadata& source) const {
  std::map<std::string, std::string> names;
  for (size_t c = 0; c < columns_.size(); ++c) names[columns_[c].name] = target_column_name(source_[c].name);
  TableMetadata loaded{.primary_key = {}, .comment = source.comment, .column_comments = {}};
  for (const auto& [column, comment] : source.column_comments) {
    if (const auto found = names.find(column); found != names.end()) loaded.column_comments[found->second] = comment;
  }
  for (const std::string& column : source.primary_key) {
    const auto found = names.find(column);
    if (found == names.end()) {
      loaded.primary_key.clear();
      break;
    }
    loaded.primary_key.push_back(found->second);
  }
  return loaded;
}

std::shared_ptr<arrow::RecordBatch> BatchAdapter::adapt(const arrow::RecordBatch& batch, int64_t first_row) const {
  std::vector<std::shared_ptr<arrow::ArrayData>> columns;
  for (size_t c = 0; c < columns_.size(); ++c) {
    const Column& column = columns_[c];
    const std::shared_ptr<arrow::ArrayData>& data = batch.column_data(column.field);
    if (column.form == Form::plain)
      columns.push_back(data);
    else if (column.form == Form::decoded)
      columns.push_back(decoded(*arrow::MakeArray(data), column.type, source_[c].name)->data());
    else
      columns.push_back(json_texts(*arrow::MakeArray(data), source_[c].name, first_row)->data());
  }
  return arrow::RecordBatch::Make(schema_, batch.num_rows(), std::move(columns));
}

namespace {

bool shortens(const LoadOptions& options) {
  return options.rules.on_subsecond == SubsecondMode::truncate || options.rules.on_subsecond == SubsecondMode::round;
}

}  // namespace

bool changes_values(const LoadOptions& options) {
  return options.rules.on_nul != NulMode::error || options.rules.on_out_of_range != RangeMode::error || shortens(options);
}

std::shared_ptr<arrow::RecordBatch> apply_policies(const std::vector<EncoderColumn>& columns, const LoadOptions& options,
                                                   std::shared_ptr<arrow::RecordBatch> batch, int64_t first_row,
                                                   PolicyCounts& counts) {
  if (!changes_values(options)) return batch;
  const ColumnRules& rules = options.rules;
  const bool shorten = shortens(options);
  std::vector<std::shared_ptr<arrow::ArrayData>> data = batch->column_data();
  for (const EncoderColumn& column : columns) {
    std::shared_ptr<arrow::ArrayData>& values = data[static_cast<size_t>(column.field)];
    // Bytes keep every NUL.
    if (rules.on_nul != NulMode::error && is_text(*values->type) && column.type != "bytea")
      values = column.type == "jsonb" ? mend_json_nuls(values, rules.on_nul, counts) : mend_nuls(values, rules.on_nul, counts);
    if (shorten && has_nanos(*values->type)) values = shorten_nanos(values, rules.on_subsecond, counts);
    if (rules.on_out_of_range == RangeMode::null && !column.not_null && column.element == nullptr)
      values = null_out_of_range(column, values, first_row, counts);
  }
  return arrow::RecordBatch::Make(batch->schema(), batch->num_rows(), std::move(data));
}

}  // namespace snowmelt
