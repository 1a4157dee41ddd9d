#include "snowmelt/extract/row_reader.h"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <utility>

#include "snowmelt/error.h"
#include "snowmelt/extract/number_text.h"
#include "snowmelt/extract/result_source.h"
#include "snowmelt/storage/durable_file.h"

namespace snowmelt {
namespace {

std::string date_text(int64_t days) {
  const std::chrono::year_month_day date{std::chrono::sys_days{std::chrono::days{days}}};
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                     static_cast<unsigned>(date.day()));
}

// `units` of 10^-digits seconds since midnight; the fraction without trailing zeros.
std::string time_text(int64_t units, int digits) {
  const int64_t second = kPowersOfTen[digits];
  const int64_t seconds = units / second;
  std::string text = fmt::format("{:02}:{:02}:{:02}", seconds / 3'600, seconds / 60 % 60, seconds % 60);
  if (const int64_t fraction = units % second; fraction != 0) {
    std::string places = fmt::format("{:0{}}", fraction, digits);
    places.erase(places.find_last_not_of('0') + 1);
    text += "." + places;
  }
  return text;
}

std::string timestamp_text(int64_t units, int digits) {
  const int64_t day = 86'400 * kPowersOfTen[digits];
  const int64_t days = floor_divide(units, day);
  return date_text(days) + " " + time_text(units - days * day, digits);
}

std::string offset_text(int minutes) {
  const int magnitude = minutes < 0 ? -minutes : minutes;
  return fmt::format("{}{:02}:{:02}", minutes < 0 ? '-' : '+', magnitude / 60, magnitude % 60);
}

std::string real_text(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

template <typename T>
int128_t decimal_at(const arrow::Array& array, int64_t row) {
  T value;
  std::memcpy(&value, array.data()->GetValues<uint8_t>(1, 0) + (array.offset() + row) * static_cast<int64_t>(sizeof(T)),
              sizeof value);
  return value;
}

template <typename Numbers>
std::string list_text(const arrow::ListArray& array, int64_t row) {
  const auto& values = static_cast<const Numbers&>(*array.values());
  std::string text = "[";
  for (int64_t i = array.value_offset(row); i < array.value_offset(row + 1); ++i) {
    char number[32];
    text.append(text.size() > 1 ? "," : "").append(number, std::to_chars(number, number + sizeof number, values.Value(i)).ptr);
  }
  return text + "]";
}

// One value of a column of the file's form (snowflake_types.h makes no others).
std::string value_text(const arrow::Array& array, int64_t row) {
  const auto scale = [&] { return static_cast<const arrow::DecimalType&>(*array.type()).scale(); };
  switch (array.type_id()) {
    case arrow::Type::INT64: return std::to_string(values_of<int64_t>(array)[row]);
    case arrow::Type::INT16: return std::to_string(values_of<int16_t>(array)[row]);
    case arrow::Type::DOUBLE: return real_text(values_of<double>(array)[row]);
    case arrow::Type::BOOL: return static_cast<const arrow::BooleanArray&>(array).Value(row) ? "true" : "false";
    case arrow::Type::STRING: return static_cast<const arrow::StringArray&>(array).GetString(row);
    case arrow::Type::BINARY: return to_hex(static_cast<const arrow::BinaryArray&>(array).GetView(row));
    case arrow::Type::DATE32: return date_text(values_of<int32_t>(array)[row]);
    case arrow::Type::TIME64:
      return time_text(values_of<int64_t>(array)[row],
                       static_cast<const arrow::Time64Type&>(*array.type()).unit() == arrow::TimeUnit::MICRO ? 6 : 9);
    case arrow::Type::DECIMAL32: return decimal_text(decimal_at<int32_t>(array, row), scale());
    case arrow::Type::DECIMAL64: return decimal_text(decimal_at<int64_t>(array, row), scale());
    case arrow::Type::DECIMAL128: return decimal_text(decimal_at<int128_t>(array, row), scale());
    case arrow::Type::LIST: {  // VECTOR(INT, n) or VECTOR(FLOAT, n)
      const auto& lists = static_cast<const arrow::ListArray&>(array);
      return lists.value_type()->id() == arrow::Type::INT32 ? list_text<arrow::Int32Array>(lists, row)
                                                            : list_text<arrow::FloatArray>(lists, row);
    }
    default: throw BugError("cursor.value", "no text form for " + array.type()->ToString());
  }
}

// One column of the result; a TIMESTAMP_TZ is two of the file's.
struct OutputColumn {
  int field = 0;
  int offset_field = -1;
};

class ArrowRows : public RowSource {
 public:
  ArrowRows(const std::shared_ptr<SourceSession>& session, const StatementResult& result, SubsecondMode mode,
            std::stop_token stop)
      : arrow_(result.arrow),
        // Every digit, as wide as it comes: a cursor refuses nothing.
        converter_(std::make_shared<WireConverter>(
            result.row_type, ColumnRules{.integers = IntegerMode::numeric, .on_subsecond = mode, .tz_offset = true})),
        source_(session, result, converter_),
        feed_(source_.open_feed(http_options(*session), RetryPolicy{}, nullptr, stop)),
        stop_(std::move(stop)) {
    int field = 0;
    for (const SnowflakeColumn& column : result.row_type) {
      const bool zoned = column.type == "timestamp_tz";
      columns_.push_back({field, zoned ? field + 1 : -1});
      field += zoned ? 2 : 1;
    }
  }

  std::optional<Row> next() override {
    while (row_ == rows_) {
      if (!load()) return std::nullopt;
    }
    const int64_t row = row_++;
    if (!arrow_) return unit_.text_rows[static_cast<size_t>(row)];
    Row values;
    for (const OutputColumn& column : columns_) values.push_back(value(column, row));
    return values;
  }

 private:
  bool load() {
    row_ = 0;
    rows_ = 0;
    if (arrow_ && ++batch_ < unit_.batches.size()) {
      open_batch();
      return true;
    }
    const bool more = feed_->next(unit_);
    if (stop_.stop_requested()) throw Interrupted("snowflake.interrupted", "reading the result was stopped");
    if (!more) return false;
    batch_ = 0;
    first_row_ = unit_.first_row;
    if (!arrow_) {
      rows_ = unit_.rows;
    } else if (!unit_.batches.empty()) {
      open_batch();
    }
    return true;
  }

  void open_batch() {
    batch_data_ = converter_->convert(*unit_.batches[batch_], first_row_);
    rows_ = batch_data_->num_rows();
    first_row_ += rows_;
  }

  Value value(const OutputColumn& column, int64_t row) const {
    const arrow::Array& array = *batch_data_->column(column.field);
    if (array.IsNull(row)) return std::nullopt;
    if (array.type_id() != arrow::Type::TIMESTAMP) return value_text(array, row);
    const int64_t units = values_of<int64_t>(array)[row];
    const auto& type = static_cast<const arrow::TimestampType&>(*array.type());
    const int digits = type.unit() == arrow::TimeUnit::MICRO ? 6 : 9;
    if (column.offset_field >= 0) {
      const int minutes = values_of<int16_t>(*batch_data_->column(column.offset_field))[row];
      return timestamp_text(units + minutes * 60 * kPowersOfTen[digits], digits) + offset_text(minutes);
    }
    const bool utc = !type.timezone().empty();
    return timestamp_text(units, digits) + (utc ? "+00:00" : "");
  }

  bool arrow_;
  std::shared_ptr<const WireConverter> converter_;
  ResultSource source_;
  std::unique_ptr<UnitFeed> feed_;
  const std::stop_token stop_;
  std::vector<OutputColumn> columns_;
  UnitData unit_;
  size_t batch_ = 0;
  std::shared_ptr<arrow::RecordBatch> batch_data_;
  int64_t first_row_ = 0;
  int64_t row_ = 0;
  int64_t rows_ = 0;
};

}  // namespace

ResultRowReader arrow_row_reader(SubsecondMode mode) {
  return [mode](std::shared_ptr<SnowflakeConnection> connection, const StatementResult& result,
                std::stop_token stop) -> std::unique_ptr<RowSource> {
    return std::make_unique<ArrowRows>(source_session(std::move(connection)), result, mode, std::move(stop));
  };
}

SmallResult read_small_result(const std::shared_ptr<SourceSession>& session, SourceSession::Answer answer, std::stop_token stop) {
  SmallResult small;
  if (!answer.result) {
    small.columns = answer.cursor->description();
    small.rows = answer.cursor->fetchall();
    return small;
  }
  small.columns = descriptions_of(answer.result->row_type);
  if (!answer.result->arrow && answer.result->chunks.empty()) {
    small.rows = std::move(answer.result->rows);
    return small;
  }
  ArrowRows rows(session, *answer.result, SubsecondMode::nanos, std::move(stop));
  while (auto row = rows.next()) small.rows.push_back(std::move(*row));
  return small;
}

}  // namespace snowmelt
