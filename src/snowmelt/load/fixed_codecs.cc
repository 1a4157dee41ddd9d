// Values whose field has one length: integers, floats, booleans, dates, times, timestamps.
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <limits>

#include "snowmelt/load/column_codec.h"

namespace snowmelt {
namespace {

constexpr int64_t kMicrosPerSecond = 1'000'000;
constexpr int64_t kMicrosPerDay = 86'400 * kMicrosPerSecond;
constexpr int32_t kEpochDays = 10'957;  // 1970-01-01 to 2000-01-01, PostgreSQL's day 0
constexpr int64_t kEpochMicros = kEpochDays * kMicrosPerDay;
// PostgreSQL's own limits: 4714-11-24 BC to 5874897-12-31 for dates, to 294276-12-31 for timestamps (datatype/timestamp.h).
constexpr int32_t kDateMin = -2'451'545;
constexpr int32_t kDateMax = 2'145'031'948;
constexpr int64_t kTimestampMin = -211'813'488'000'000'000;
constexpr int64_t kTimestampEnd = 9'223'371'331'200'000'000;

// Lengths, for every codec of this file.
template <uint32_t bytes>
void add_fixed_sizes(const ColumnBlock& block, uint32_t* sizes) {
  for_each_row(
      block, [&](int64_t i) { sizes[i] += kFieldHeader + bytes; }, [&](int64_t i) { sizes[i] += kFieldHeader; });
}

template <typename Wire>
inline void put_value(uint8_t* to, Wire value) {
  if constexpr (sizeof(Wire) == 1)
    *to = std::bit_cast<uint8_t>(value);
  else if constexpr (sizeof(Wire) == 2)
    put16(to, std::bit_cast<uint16_t>(value));
  else if constexpr (sizeof(Wire) == 4)
    put32(to, std::bit_cast<uint32_t>(value));
  else
    put64(to, std::bit_cast<uint64_t>(value));
}

// A conversion has: Source, Wire, keeps(column, value) and convert(value), and refuse(column, row, value).
template <typename Conversion>
void measure_fixed(const EncoderColumn& column, const ColumnBlock& block, uint32_t* sizes, CodecScratch&) {
  using Source = typename Conversion::Source;
  const Source* values = values_of<Source>(block);
  if constexpr (Conversion::kChecked) {
    bool all = true;  // NULL slots hold anything: only a suspicion is followed up row by row
    for (int64_t i = 0; i < block.rows; ++i) all &= Conversion::keeps(column, values[i]);
    if (!all) {
      for_each_row(
          block,
          [&](int64_t i) {
            if (!Conversion::keeps(column, values[i])) Conversion::refuse(column, block.row_number(i), values[i]);
          },
          [](int64_t) {});
    }
  }
  add_fixed_sizes<sizeof(typename Conversion::Wire)>(block, sizes);
}

template <typename Conversion>
void write_fixed(const EncoderColumn&, const ColumnBlock& block, uint8_t** positions, CodecScratch&) {
  constexpr auto kBytes = static_cast<uint32_t>(sizeof(typename Conversion::Wire));
  const auto* values = values_of<typename Conversion::Source>(block);
  for_each_row(
      block,
      [&](int64_t i) {
        uint8_t* to = positions[i];
        put32(to, kBytes);
        put_value(to + kFieldHeader, Conversion::convert(values[i]));
        positions[i] = to + kFieldHeader + kBytes;
      },
      [&](int64_t i) {
        put32(positions[i], kNullLength);
        positions[i] += kFieldHeader;
      });
}

template <typename Conversion>
inline constexpr ColumnCodec kFixed{&measure_fixed<Conversion>, &write_fixed<Conversion>};

[[noreturn]] void refuse_range(const EncoderColumn& column, int64_t row) {
  throw_value_error(column, row, "copy.out_of_range", "the value is out of the range of " + column.type,
                    "give the target column a wider type (bigint, numeric)");
}
[[noreturn]] void refuse_inexact(const EncoderColumn& column, int64_t row) {
  throw_value_error(column, row, "copy.not_exact", "the value has digits that " + column.type + " cannot keep",
                    "give the target column a type that keeps them, or round them with query = \"select …\"");
}

template <typename From, typename To>
struct IntegerConversion {
  using Source = From;
  using Wire = To;
  static constexpr bool kChecked = !(std::is_signed_v<From> ? sizeof(From) <= sizeof(To) : sizeof(From) < sizeof(To));
  static bool keeps(const EncoderColumn&, From value) { return std::in_range<To>(value); }
  static To convert(From value) { return static_cast<To>(value); }
  static void refuse(const EncoderColumn& column, int64_t row, From) { refuse_range(column, row); }
};

template <typename To>
struct Decimal128ToInteger {
  using Source = Int128;
  using Wire = To;
  static constexpr bool kChecked = true;
  static bool keeps(const EncoderColumn&, Int128 value) { return value == static_cast<To>(value); }
  static To convert(Int128 value) { return static_cast<To>(value); }
  static void refuse(const EncoderColumn& column, int64_t row, Int128) { refuse_range(column, row); }
};

// Integers into floats: kept as long as the value comes back.
template <typename From, typename To>
struct IntegerToFloat {
  using Source = From;
  using Wire = To;
  static constexpr bool kChecked = sizeof(From) >= sizeof(To);
  static bool keeps(const EncoderColumn&, From value) {
    constexpr auto kMost = static_cast<int64_t>(1) << std::numeric_limits<To>::digits;
    if constexpr (std::is_signed_v<From>)
      return value >= -kMost && value <= kMost;
    else
      return value <= static_cast<uint64_t>(kMost);
  }
  static To convert(From value) { return static_cast<To>(value); }
  static void refuse(const EncoderColumn& column, int64_t row, From) { refuse_inexact(column, row); }
};

template <typename From, typename To>
struct FloatConversion {
  using Source = From;
  using Wire = To;
  static constexpr bool kChecked = sizeof(From) > sizeof(To);
  static bool keeps(const EncoderColumn&, From value) {
    return std::isnan(value) || static_cast<From>(static_cast<To>(value)) == value;
  }
  static To convert(From value) { return static_cast<To>(value); }
  static void refuse(const EncoderColumn& column, int64_t row, From) { refuse_inexact(column, row); }
};

// IEEE half precision, which C++20 has no type for. Every value fits float4.
template <typename To>
struct HalfConversion {
  using Source = uint16_t;
  using Wire = To;
  static constexpr bool kChecked = false;
  static bool keeps(const EncoderColumn&, uint16_t) { return true; }
  static void refuse(const EncoderColumn&, int64_t, uint16_t) {}
  static To convert(uint16_t half) {
    const int exponent = (half >> 10) & 0x1f;
    const int mantissa = half & 0x3ff;
    To value;
    if (exponent == 0x1f)
      value = mantissa == 0 ? std::numeric_limits<To>::infinity() : std::numeric_limits<To>::quiet_NaN();
    else if (exponent == 0)
      value = std::ldexp(static_cast<To>(mantissa), -24);
    else
      value = std::ldexp(static_cast<To>(mantissa + 0x400), exponent - 25);
    return (half & 0x8000) != 0 ? -value : value;
  }
};

template <typename To>
const ColumnCodec* integers_into(arrow::Type::type from) {
  constexpr bool kFloat = std::is_floating_point_v<To>;
  const auto codec = [&]<typename From>(From) -> const ColumnCodec* {
    if constexpr (kFloat)
      return &kFixed<IntegerToFloat<From, To>>;
    else
      return &kFixed<IntegerConversion<From, To>>;
  };
  switch (from) {
    case arrow::Type::INT8: return codec(int8_t{});
    case arrow::Type::INT16: return codec(int16_t{});
    case arrow::Type::INT32:
    case arrow::Type::DECIMAL32: return codec(int32_t{});
    case arrow::Type::INT64:
    case arrow::Type::DECIMAL64: return codec(int64_t{});
    case arrow::Type::UINT8: return codec(uint8_t{});
    case arrow::Type::UINT16: return codec(uint16_t{});
    case arrow::Type::UINT32: return codec(uint32_t{});
    case arrow::Type::UINT64: return codec(uint64_t{});
    case arrow::Type::DECIMAL128:
      if constexpr (kFloat)
        return nullptr;
      else
        return &kFixed<Decimal128ToInteger<To>>;
    default: return nullptr;
  }
}

struct DateConversion {
  using Source = int32_t;
  using Wire = int32_t;
  static constexpr bool kChecked = true;
  static bool keeps(const EncoderColumn&, int32_t days) { return days >= kDateMin + kEpochDays && days <= kDateMax + kEpochDays; }
  static int32_t convert(int32_t days) { return days - kEpochDays; }
  static void refuse(const EncoderColumn& column, int64_t row, int32_t) { refuse_range(column, row); }
};

// Arrow's date64: milliseconds that must be a whole day.
struct Date64Conversion {
  using Source = int64_t;
  using Wire = int32_t;
  static constexpr bool kChecked = true;
  static constexpr int64_t kMillisPerDay = 86'400'000;
  static bool keeps(const EncoderColumn&, int64_t millis) {
    return millis % kMillisPerDay == 0 && millis / kMillisPerDay >= kDateMin + kEpochDays &&
           millis / kMillisPerDay <= kDateMax + kEpochDays;
  }
  static int32_t convert(int64_t millis) { return static_cast<int32_t>(millis / kMillisPerDay - kEpochDays); }
  static void refuse(const EncoderColumn& column, int64_t row, int64_t) { refuse_range(column, row); }
};

// The microseconds that a column of `fraction_digits` digits cannot keep; 1 keeps all.
int64_t kept_unit(const EncoderColumn& column) {
  constexpr int64_t kUnits[] = {1'000'000, 100'000, 10'000, 1'000, 100, 10, 1};
  return kUnits[column.fraction_digits];
}

constexpr int64_t floor_divide(int64_t value, int64_t by) { return value / by - (value % by < 0 ? 1 : 0); }

// Multiplies (seconds, ms) or divides (ns) to microseconds. `keeps` sees overflow, lost digits and PostgreSQL's limits.
template <typename From, int64_t multiply, int64_t divide, bool is_time>
struct MicrosConversion {
  using Source = From;
  using Wire = int64_t;
  static constexpr bool kChecked = true;
  static bool exact(const EncoderColumn& column, From value) {
    if (divide > 1 && value % divide != 0) return false;
    return column.fraction_digits == 6 || (floor_divide(value, divide) * multiply) % kept_unit(column) == 0;
  }
  static bool in_limits(From value) {
    if constexpr (is_time)
      return value >= 0 && value <= kMicrosPerDay / multiply * divide;
    else if constexpr (divide > 1)
      return true;  // ns in 64 bits reach from 1677 to 2262
    // Above, the 64 bits of Arrow's microseconds end (year 294247) before PostgreSQL's range does (294277).
    else
      return value >= (kTimestampMin + kEpochMicros) / multiply && value <= std::numeric_limits<int64_t>::max() / multiply;
  }
  static bool keeps(const EncoderColumn& column, From value) { return in_limits(value) && exact(column, value); }
  static int64_t convert(From value) { return floor_divide(value, divide) * multiply - (is_time ? 0 : kEpochMicros); }
  static void refuse(const EncoderColumn& column, int64_t row, From value) {
    if (!in_limits(value)) refuse_range(column, row);
    if (divide > 1 && value % divide != 0) {
      throw_value_error(column, row, "copy.subsecond_digits",
                        "the value has digits below the microsecond, which PostgreSQL has not",
                        "set on_subsecond = \"truncate\" or \"round\" for the table");
    }
    refuse_inexact(column, row);
  }
};

struct DateToTimestamp {
  using Source = int32_t;
  using Wire = int64_t;
  static constexpr bool kChecked = true;
  static bool keeps(const EncoderColumn&, int32_t days) {
    return days >= kDateMin + kEpochDays && days < kTimestampEnd / kMicrosPerDay + kEpochDays;
  }
  static int64_t convert(int32_t days) { return (static_cast<int64_t>(days) - kEpochDays) * kMicrosPerDay; }
  static void refuse(const EncoderColumn& column, int64_t row, int32_t) { refuse_range(column, row); }
};

template <typename Put>
void for_each_bit(const ColumnBlock& block, Put&& put) {
  const uint8_t* bits = block.data.buffers[1]->data();
  for_each_row(
      block, [&](int64_t i) { put(i, static_cast<uint8_t>((bits[(block.begin + i) >> 3] >> ((block.begin + i) & 7)) & 1)); },
      [&](int64_t i) { put(i, uint8_t{0xff}); });
}

void measure_boolean(const EncoderColumn&, const ColumnBlock& block, uint32_t* sizes, CodecScratch&) {
  add_fixed_sizes<1>(block, sizes);
}
void write_boolean(const EncoderColumn&, const ColumnBlock& block, uint8_t** positions, CodecScratch&) {
  for_each_bit(block, [&](int64_t i, uint8_t bit) {
    const bool null = bit == 0xff;
    put32(positions[i], null ? kNullLength : 1);
    if (!null) positions[i][kFieldHeader] = bit;
    positions[i] += kFieldHeader + (null ? 0 : 1);
  });
}
constexpr ColumnCodec kBoolean{&measure_boolean, &write_boolean};

template <typename From, bool is_time>
const ColumnCodec* micros_codec(arrow::TimeUnit::type unit) {
  switch (unit) {
    case arrow::TimeUnit::SECOND: return &kFixed<MicrosConversion<From, 1'000'000, 1, is_time>>;
    case arrow::TimeUnit::MILLI: return &kFixed<MicrosConversion<From, 1'000, 1, is_time>>;
    case arrow::TimeUnit::MICRO: return &kFixed<MicrosConversion<From, 1, 1, is_time>>;
    case arrow::TimeUnit::NANO: return &kFixed<MicrosConversion<From, 1, 1'000, is_time>>;
  }
  return nullptr;
}

}  // namespace

const ColumnCodec* integer_codec(const arrow::DataType& from, IntegerTarget to) {
  if (arrow::is_decimal(from.id()) && static_cast<const arrow::DecimalType&>(from).scale() != 0) return nullptr;
  switch (to) {
    case IntegerTarget::int2: return integers_into<int16_t>(from.id());
    case IntegerTarget::int4: return integers_into<int32_t>(from.id());
    case IntegerTarget::int8: return integers_into<int64_t>(from.id());
    case IntegerTarget::float4: return integers_into<float>(from.id());
    case IntegerTarget::float8: return integers_into<double>(from.id());
  }
  return nullptr;
}

const ColumnCodec* float_codec(const arrow::DataType& from, bool to_float8) {
  switch (from.id()) {
    case arrow::Type::HALF_FLOAT: return to_float8 ? &kFixed<HalfConversion<double>> : &kFixed<HalfConversion<float>>;
    case arrow::Type::FLOAT: return to_float8 ? &kFixed<FloatConversion<float, double>> : &kFixed<FloatConversion<float, float>>;
    case arrow::Type::DOUBLE:
      return to_float8 ? &kFixed<FloatConversion<double, double>> : &kFixed<FloatConversion<double, float>>;
    default: return nullptr;
  }
}

const ColumnCodec* boolean_codec(const arrow::DataType& from) { return from.id() == arrow::Type::BOOL ? &kBoolean : nullptr; }

const ColumnCodec* date_codec(const arrow::DataType& from) {
  if (from.id() == arrow::Type::DATE32) return &kFixed<DateConversion>;
  return from.id() == arrow::Type::DATE64 ? &kFixed<Date64Conversion> : nullptr;
}

const ColumnCodec* time_codec(const arrow::DataType& from) {
  if (from.id() == arrow::Type::TIME32) return micros_codec<int32_t, true>(static_cast<const arrow::TimeType&>(from).unit());
  return from.id() == arrow::Type::TIME64 ? micros_codec<int64_t, true>(static_cast<const arrow::TimeType&>(from).unit())
                                          : nullptr;
}

const ColumnCodec* timestamp_codec(const arrow::DataType& from) {
  if (from.id() == arrow::Type::DATE32) return &kFixed<DateToTimestamp>;
  if (from.id() != arrow::Type::TIMESTAMP) return nullptr;
  return micros_codec<int64_t, false>(static_cast<const arrow::TimestampType&>(from).unit());
}

}  // namespace snowmelt
