// INTERVAL and TIME WITH TIME ZONE: from text (Snowflake's intervals, times with an offset), durations, and Parquet's INTERVAL.
#include <fmt/format.h>

#include <charconv>
#include <limits>

#include "snowmelt/load/column_codec.h"

namespace snowmelt {
namespace {

constexpr int64_t kMicrosPerSecond = 1'000'000;
constexpr int64_t kMicrosPerDay = 86'400 * kMicrosPerSecond;
constexpr int kMicrosDigits = 6;
constexpr int kZoneSecondsMax = 15 * 3'600 + 59 * 60 + 59;  // PostgreSQL's limit, exclusive of 16 hours

enum class Reading { good, malformed, below_microsecond, out_of_range };

// The three parts that PostgreSQL keeps apart: a day is not always 24 hours, a month not always 30 days.
struct Interval {
  int64_t micros = 0;
  int64_t days = 0;
  int64_t months = 0;
};

bool keeps_fraction(const EncoderColumn& column, int64_t micros) {
  constexpr int64_t kUnits[] = {1'000'000, 100'000, 10'000, 1'000, 100, 10, 1};
  return micros % kUnits[column.fraction_digits] == 0;
}

Reading settled(const EncoderColumn& column, const Interval& value) {
  const auto fits = [](int64_t number) { return number == static_cast<int32_t>(number); };
  if (!fits(value.days) || !fits(value.months)) return Reading::out_of_range;
  return keeps_fraction(column, value.micros) ? Reading::good : Reading::below_microsecond;
}

// Digits behind a point as microseconds; nullopt where more than six count.
Reading read_fraction(std::string_view digits, int64_t& micros) {
  if (digits.empty()) return Reading::malformed;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (digits[i] < '0' || digits[i] > '9') return Reading::malformed;
    if (i >= kMicrosDigits && digits[i] != '0') return Reading::below_microsecond;
  }
  for (size_t i = 0; i < kMicrosDigits; ++i) micros = micros * 10 + (i < digits.size() ? digits[i] - '0' : 0);
  return Reading::good;
}

bool add_scaled(int64_t& sum, int64_t value, int64_t factor) {
  int64_t product = 0;
  return !__builtin_mul_overflow(value, factor, &product) && !__builtin_add_overflow(sum, product, &sum);
}

// ISO 8601: "P-1Y-2M", "P1DT2H3M4.5S"; each field carries its sign.
Reading read_interval(std::string_view text, const EncoderColumn& column, Interval& out) {
  if (!text.starts_with('P') || text.size() < 3) return Reading::malformed;
  text.remove_prefix(1);
  bool time = false;
  while (!text.empty()) {
    if (text[0] == 'T' && !time) {
      time = true;
      text.remove_prefix(1);
      continue;
    }
    const size_t end = text.find_first_not_of("+-.0123456789");
    if (end == std::string_view::npos || end == 0) return Reading::malformed;
    const std::string_view number = text.substr(0, end);
    const size_t point = number.find('.');
    const bool negative = number.starts_with('-');
    int64_t whole = 0;
    const char* first = number.data() + (number.starts_with('+') ? 1 : 0);
    const char* last = number.data() + std::min(point, number.size());
    const auto [stop, problem] = std::from_chars(first, last, whole);
    if (problem != std::errc() || stop != last) return Reading::malformed;
    const char unit = text[end];
    text.remove_prefix(end + 1);
    if (point != std::string_view::npos) {
      int64_t micros = 0;
      if (!time || unit != 'S') return Reading::malformed;
      if (const Reading fraction = read_fraction(number.substr(point + 1), micros); fraction != Reading::good) return fraction;
      out.micros += negative ? -micros : micros;
    }
    bool known = true, fits = true;
    if (!time && unit == 'Y')
      fits = add_scaled(out.months, whole, 12);
    else if (!time && unit == 'M')
      fits = add_scaled(out.months, whole, 1);
    else if (!time && unit == 'W')
      fits = add_scaled(out.days, whole, 7);
    else if (!time && unit == 'D')
      fits = add_scaled(out.days, whole, 1);
    else if (time && unit == 'H')
      fits = add_scaled(out.micros, whole, 3'600 * kMicrosPerSecond);
    else if (time && unit == 'M')
      fits = add_scaled(out.micros, whole, 60 * kMicrosPerSecond);
    else if (time && unit == 'S')
      fits = add_scaled(out.micros, whole, kMicrosPerSecond);
    else
      known = false;
    if (!known) return Reading::malformed;
    if (!fits) return Reading::out_of_range;
  }
  return settled(column, out);
}

void put_interval(uint8_t* to, const Interval& value) {
  put64(to, static_cast<uint64_t>(value.micros));
  put32(to + 8, static_cast<uint32_t>(value.days));
  put32(to + 12, static_cast<uint32_t>(value.months));
}

bool read_two_digits(std::string_view& text, int64_t& value) {
  if (text.size() < 2 || text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9') return false;
  value = (text[0] - '0') * 10 + text[1] - '0';
  text.remove_prefix(2);
  return true;
}

// "hh:mm[:ss[.ffffff]]" and then "Z" or "+hh[:mm[:ss]]": a time without an offset has no zone to be kept with.
Reading read_zoned_time(std::string_view text, const EncoderColumn& column, int64_t& micros, int64_t& zone) {
  int64_t hours = 0, minutes = 0, seconds = 0;
  if (!read_two_digits(text, hours) || !text.starts_with(':')) return Reading::malformed;
  text.remove_prefix(1);
  if (!read_two_digits(text, minutes)) return Reading::malformed;
  if (text.starts_with(':')) {
    text.remove_prefix(1);
    if (!read_two_digits(text, seconds)) return Reading::malformed;
  }
  if (text.starts_with('.')) {
    const size_t end = std::min(text.find_first_not_of("0123456789", 1), text.size());
    if (const Reading fraction = read_fraction(text.substr(1, end - 1), micros); fraction != Reading::good) return fraction;
    text.remove_prefix(end);
  }
  micros += ((hours * 60 + minutes) * 60 + seconds) * kMicrosPerSecond;
  if (minutes > 59 || seconds > 59 || micros > kMicrosPerDay) return Reading::malformed;
  if (text.starts_with(' ')) text.remove_prefix(1);
  if (text != "Z" && text != "z") {
    if (text.empty() || (text[0] != '+' && text[0] != '-')) return Reading::malformed;
    const int64_t west = text[0] == '-' ? 1 : -1;  // PostgreSQL counts seconds west of Greenwich
    text.remove_prefix(1);
    int64_t parts[3] = {0, 0, 0};
    if (!read_two_digits(text, parts[0])) return Reading::malformed;
    for (int i = 1; i < 3 && !text.empty(); ++i) {
      if (text.starts_with(':')) text.remove_prefix(1);
      if (!read_two_digits(text, parts[i]) || parts[i] > 59) return Reading::malformed;
    }
    zone = west * ((parts[0] * 60 + parts[1]) * 60 + parts[2]);
    if (!text.empty() || zone > kZoneSecondsMax || zone < -kZoneSecondsMax) return Reading::malformed;
  }
  return keeps_fraction(column, micros) ? Reading::good : Reading::below_microsecond;
}

[[noreturn]] void refuse(const EncoderColumn& column, int64_t row, Reading reading, const char* what) {
  if (reading == Reading::below_microsecond) {
    throw_value_error(column, row, "copy.subsecond_digits",
                      fmt::format("the value has more digits below the second than {} keeps", column.type),
                      "set on_subsecond = \"truncate\" or \"round\" for the table and export it again");
  }
  if (reading == Reading::out_of_range) {
    throw_value_error(column, row, "copy.out_of_range", "the value is out of the range of " + column.type,
                      "give the target column the type text");
  }
  throw_value_error(column, row, "copy.bad_text", fmt::format("the text is not {}", what),
                    "give the target column the type text");
}

// A reader has: kBytes, and read(column, block, i, to), which throws or writes the field's bytes.
template <typename Reader>
void measure_read(const EncoderColumn& column, const ColumnBlock& block, uint32_t* sizes, CodecScratch&) {
  uint8_t unused[Reader::kBytes];
  for_each_row(
      block,
      [&](int64_t i) {
        Reader::read(column, block, i, unused);
        sizes[i] += kFieldHeader + Reader::kBytes;
      },
      [&](int64_t i) { sizes[i] += kFieldHeader; });
}

template <typename Reader>
void write_read(const EncoderColumn& column, const ColumnBlock& block, uint8_t** positions, CodecScratch&) {
  for_each_row(
      block,
      [&](int64_t i) {
        put32(positions[i], Reader::kBytes);
        Reader::read(column, block, i, positions[i] + kFieldHeader);
        positions[i] += kFieldHeader + Reader::kBytes;
      },
      [&](int64_t i) {
        put32(positions[i], kNullLength);
        positions[i] += kFieldHeader;
      });
}

template <typename Reader>
inline constexpr ColumnCodec kRead{&measure_read<Reader>, &write_read<Reader>};

template <typename Offset>
struct IntervalText {
  static constexpr uint32_t kBytes = 16;
  static void read(const EncoderColumn& column, const ColumnBlock& block, int64_t i, uint8_t* to) {
    Interval value;
    const Reading reading = read_interval(text_at<Offset>(block, i), column, value);
    if (reading != Reading::good) refuse(column, block.row_number(i), reading, "an ISO 8601 interval (P1Y2M, P1DT2H3M4.5S)");
    put_interval(to, value);
  }
};

template <typename Offset>
struct ZonedTimeText {
  static constexpr uint32_t kBytes = 12;
  static void read(const EncoderColumn& column, const ColumnBlock& block, int64_t i, uint8_t* to) {
    int64_t micros = 0, zone = 0;
    const Reading reading = read_zoned_time(text_at<Offset>(block, i), column, micros, zone);
    if (reading != Reading::good) refuse(column, block.row_number(i), reading, "a time with its offset (12:34:56.5+02:00)");
    put64(to, static_cast<uint64_t>(micros));
    put32(to + 8, static_cast<uint32_t>(zone));
  }
};

// Parquet's INTERVAL: months, days and milliseconds, unsigned 32 bits each, little-endian.
struct ParquetInterval {
  static constexpr uint32_t kBytes = 16;
  static void read(const EncoderColumn& column, const ColumnBlock& block, int64_t i, uint8_t* to) {
    uint32_t parts[3];
    std::memcpy(parts, block.data.buffers[1]->data() + (block.begin + i) * static_cast<int64_t>(sizeof parts), sizeof parts);
    const Interval value{.micros = static_cast<int64_t>(parts[2]) * 1'000,
                         .days = static_cast<int32_t>(parts[1]),
                         .months = static_cast<int32_t>(parts[0])};
    if (const Reading reading = settled(column, value); reading != Reading::good)
      refuse(column, block.row_number(i), reading, "an interval");
    put_interval(to, value);
  }
};

template <int64_t multiply, int64_t divide>
struct Duration {
  static constexpr uint32_t kBytes = 16;
  static void read(const EncoderColumn& column, const ColumnBlock& block, int64_t i, uint8_t* to) {
    const int64_t units = values_of<int64_t>(block)[i];
    Interval value;
    Reading reading = add_scaled(value.micros, units / divide, multiply) ? settled(column, value) : Reading::out_of_range;
    if (units % divide != 0) reading = Reading::below_microsecond;
    if (reading != Reading::good) refuse(column, block.row_number(i), reading, "an interval");
    put_interval(to, value);
  }
};

}  // namespace

const ColumnCodec* interval_codec(const arrow::DataType& from) {
  switch (from.id()) {
    case arrow::Type::STRING: return &kRead<IntervalText<int32_t>>;
    case arrow::Type::LARGE_STRING: return &kRead<IntervalText<int64_t>>;
    case arrow::Type::FIXED_SIZE_BINARY:
      return static_cast<const arrow::FixedSizeBinaryType&>(from).byte_width() == 12 ? &kRead<ParquetInterval> : nullptr;
    case arrow::Type::DURATION: break;
    default: return nullptr;
  }
  switch (static_cast<const arrow::DurationType&>(from).unit()) {
    case arrow::TimeUnit::SECOND: return &kRead<Duration<1'000'000, 1>>;
    case arrow::TimeUnit::MILLI: return &kRead<Duration<1'000, 1>>;
    case arrow::TimeUnit::MICRO: return &kRead<Duration<1, 1>>;
    case arrow::TimeUnit::NANO: return &kRead<Duration<1, 1'000>>;
  }
  return nullptr;
}

const ColumnCodec* timetz_codec(const arrow::DataType& from) {
  if (from.id() == arrow::Type::STRING) return &kRead<ZonedTimeText<int32_t>>;
  return from.id() == arrow::Type::LARGE_STRING ? &kRead<ZonedTimeText<int64_t>> : nullptr;
}

}  // namespace snowmelt
