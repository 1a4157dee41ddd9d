// NUMBER, DECFLOAT and INTERVAL: exact integers in several widths.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#include "snowmelt/extract/column_plan.h"
#include "snowmelt/extract/number_text.h"
#include "snowmelt/extract/wire_arrays.h"

namespace snowmelt {
namespace {

// The carrier of a decimal of the file: 4, 8 or 16 bytes; INT64 for an integer.
template <typename Run>
ArrayPtr with_carrier(const ColumnPlan& plan, Run&& run) {
  switch (plan.type->id()) {
    case arrow::Type::DECIMAL32: return run(int32_t{});
    case arrow::Type::DECIMAL128: return run(int128_t{});
    default: return run(int64_t{});
  }
}

// The largest magnitude the column may hold: 10^p - 1, or the carrier's limit for an integer kept as INT64.
int128_t magnitude_max(const ColumnPlan& plan) {
  return plan.kind == ColumnKind::integer ? static_cast<int128_t>(std::numeric_limits<int64_t>::max())
                                          : power_of_ten(plan.precision) - 1;
}

template <typename From>
bool fits(const ColumnPlan& plan, From value) {
  const auto wide = static_cast<int128_t>(value);
  // INT64 reaches one further below zero.
  if (plan.kind == ColumnKind::integer) return wide == static_cast<int128_t>(static_cast<int64_t>(wide));
  const int128_t limit = magnitude_max(plan);
  return wide <= limit && wide >= -limit;
}

[[noreturn]] void throw_out_of_range(const ColumnPlan& plan, int64_t row) {
  if (plan.kind == ColumnKind::integer) {
    throw_value_error(plan, row, "snowflake.integer_out_of_range",
                      fmt::format("a value of this {} column does not fit 64 bits (bigint)", plan.source_type.text()),
                      "set integers = \"numeric\" for the table");
  }
  throw_value_error(plan, row, "snowflake.precision_exceeded",
                    fmt::format("a value has more digits than {}", plan.source_type.text()));
}

// All values, nulls included, lie within the precision. A plain comparison loop: the compiler makes vectors of it.
template <typename From>
bool all_fit(const From* values, int64_t length, int128_t limit) {
  if (static_cast<int128_t>(std::numeric_limits<From>::max()) <= limit &&
      static_cast<int128_t>(std::numeric_limits<From>::min()) >= -limit)
    return true;
  const auto bound = static_cast<From>(limit);
  bool good = true;
  for (int64_t i = 0; i < length; ++i) good &= values[i] <= bound && values[i] >= static_cast<From>(-bound);
  return good;
}

template <typename From>
void check_fit(const ColumnPlan& plan, const arrow::Array& wire, const From* values, int64_t first_row) {
  if (plan.kind == ColumnKind::integer && sizeof(From) <= sizeof(int64_t)) return;
  if (plan.kind == ColumnKind::decimal && all_fit(values, wire.length(), magnitude_max(plan))) return;
  // What lies under a null is of no account: look again, value by value.
  for (int64_t i = 0; i < wire.length(); ++i) {
    if (wire.IsValid(i) && !fits(plan, values[i])) throw_out_of_range(plan, first_row + i);
  }
}

template <typename From, typename To>
ArrayPtr copy_values(const ColumnPlan& plan, const arrow::Array& wire, const From* values) {
  std::shared_ptr<arrow::Buffer> buffer = allocate_values<To>(wire.length());
  auto* out = reinterpret_cast<To*>(buffer->mutable_data());
  for (int64_t i = 0; i < wire.length(); ++i) out[i] = static_cast<To>(values[i]);
  return make_values(plan.type, wire, std::move(buffer));
}

template <typename From>
ArrayPtr convert_values(const ColumnPlan& plan, const arrow::Array& wire, const From* values, int64_t first_row) {
  check_fit(plan, wire, values, first_row);
  return with_carrier(plan, [&](auto carrier) -> ArrayPtr {
    using To = decltype(carrier);
    if constexpr (std::is_same_v<From, To>) return relabel(wire, plan.type);
    return copy_values<From, To>(plan, wire, values);
  });
}

// 128-bit values lie at any 8-byte address in a stream: they are moved to where the compiler may expect them.
ArrayPtr convert_decimal128(const ColumnPlan& plan, const arrow::Array& wire, int64_t first_row) {
  const uint8_t* raw = wire.data()->GetValues<uint8_t>(1, wire.offset() * static_cast<int64_t>(sizeof(int128_t)));
  if (reinterpret_cast<uintptr_t>(raw) % alignof(int128_t) == 0) {
    return convert_values(plan, wire, reinterpret_cast<const int128_t*>(raw), first_row);
  }
  auto aligned = allocate_values<int128_t>(wire.length());
  std::memcpy(aligned->mutable_data(), raw, static_cast<size_t>(wire.length()) * sizeof(int128_t));
  std::shared_ptr<arrow::Buffer> buffer = std::move(aligned);
  const ArrayPtr moved = make_values(wire.type(), wire, buffer);
  return convert_values(plan, *moved, reinterpret_cast<const int128_t*>(buffer->data()), first_row);
}

// A text of its own for each valid value.
template <typename Format>
ArrayPtr make_text(const arrow::Array& like, Format&& format) {
  arrow::StringBuilder builder;
  take(builder.Reserve(like.length()));
  for (int64_t i = 0; i < like.length(); ++i) take(like.IsNull(i) ? builder.AppendNull() : builder.Append(format(i)));
  return take(builder.Finish());
}

// ISO 8601, which PostgreSQL's interval reads; each field carries the sign.
std::string months_text(int64_t months) { return fmt::format("P{}Y{}M", months / 12, months % 12); }

// Nine digits of days are the most that a type may name.
constexpr int128_t kNanosMax = static_cast<int128_t>(86'400) * kPowersOfTen[18];

std::string nanos_text(int128_t nanos) {
  const int128_t second = kPowersOfTen[9];
  const char* sign = nanos < 0 ? "-" : "";
  const int128_t magnitude = nanos < 0 ? -nanos : nanos;
  const auto days = static_cast<int64_t>(magnitude / (86'400 * second));
  const auto seconds = static_cast<int64_t>(magnitude / second % 86'400);
  std::string text = fmt::format("P{0}{1}DT{0}{2}H{0}{3}M{0}{4}", sign, days, seconds / 3'600, seconds / 60 % 60, seconds % 60);
  if (const auto fraction = static_cast<int64_t>(magnitude % second); fraction != 0) {
    std::string digits = fmt::format("{:09}", fraction);
    digits.erase(digits.find_last_not_of('0') + 1);
    text += "." + digits;
  }
  return text + "S";
}

// The text keeps all nine digits, unless the policy gives up those that PostgreSQL has not.
int128_t shortened(const ColumnPlan& plan, int128_t nanos) {
  if (plan.on_subsecond != SubsecondMode::truncate && plan.on_subsecond != SubsecondMode::round) return nanos;
  constexpr int64_t kNanos = 1'000;
  const int128_t rest = (nanos % kNanos + kNanos) % kNanos;
  if (rest == 0) return nanos;
  if (plan.policies != nullptr) ++plan.policies->on_subsecond;
  const int128_t micros = (nanos - rest) / kNanos;
  const bool up = plan.on_subsecond == SubsecondMode::round && (2 * rest > kNanos || (2 * rest == kNanos && micros % 2 != 0));
  return (micros + (up ? 1 : 0)) * kNanos;
}

}  // namespace

ArrayPtr convert_number(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row) {
  if (wire->type_id() == arrow::Type::DECIMAL128) {
    if (static_cast<const arrow::Decimal128Type&>(*wire->type()).scale() != plan.scale) throw_wire_type(plan, *wire->type());
    return convert_decimal128(plan, *wire, first_row);
  }
  ArrayPtr result;
  const bool integers =
      visit_integers(*wire, [&](const auto* values) { result = convert_values(plan, *wire, values, first_row); });
  if (!integers) throw_wire_type(plan, *wire->type());
  return result;
}

ArrayPtr convert_decfloat(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row) {
  if (wire->type_id() != arrow::Type::STRUCT || wire->type()->num_fields() != 2) throw_wire_type(plan, *wire->type());
  const auto& parts = static_cast<const arrow::StructArray&>(*wire);
  const ArrayPtr exponent = parts.GetFieldByName("exponent");
  const ArrayPtr significand = parts.GetFieldByName("significand");
  if (!exponent || !significand || exponent->type_id() != arrow::Type::INT16 || significand->type_id() != arrow::Type::BINARY) {
    throw_wire_type(plan, *wire->type());
  }
  const auto* exponents = values_of<int16_t>(*exponent);
  const auto& digits = static_cast<const arrow::BinaryArray&>(*significand);
  return make_text(*wire, [&](int64_t i) {
    const std::string_view bytes = digits.GetView(i);
    if (bytes.size() > sizeof(int128_t)) {
      throw_value_error(plan, first_row + i, "snowflake.decfloat_too_long",
                        fmt::format("a DECFLOAT of {} bytes; 16 are the most", bytes.size()));
    }
    return decfloat_text(int128_from_big_endian(bytes), exponents[i]);
  });
}

ArrayPtr convert_interval(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row) {
  if (wire->type_id() == arrow::Type::STRING) return checked_text(plan, wire, first_row);
  const bool months = plan.kind == ColumnKind::interval_months;
  if (!months && wire->type_id() == arrow::Type::DECIMAL128) {
    const auto& values = static_cast<const arrow::Decimal128Array&>(*wire);
    return make_text(*wire, [&](int64_t i) {
      int128_t value;
      std::memcpy(&value, values.GetValue(i), sizeof value);
      if (value > kNanosMax || value < -kNanosMax) {
        throw_value_error(plan, first_row + i, "snowflake.interval_out_of_range", "the interval has more than 999,999,999 days");
      }
      return nanos_text(shortened(plan, value));
    });
  }
  const ArrayPtr values = widen_to_int64(wire);
  if (!values) throw_wire_type(plan, *wire->type());
  const auto* numbers = values_of<int64_t>(*values);
  return make_text(*values,
                   [&](int64_t i) { return months ? months_text(numbers[i]) : nanos_text(shortened(plan, numbers[i])); });
}

}  // namespace snowmelt
