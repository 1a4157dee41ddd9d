// TIME and the three TIMESTAMPs in all their physical forms.
#include <fmt/format.h>

#include <limits>
#include <optional>
#include <string>

#include "snowmelt/extract/column_plan.h"
#include "snowmelt/extract/time_units.h"
#include "snowmelt/extract/wire_arrays.h"

namespace snowmelt {
namespace {

constexpr int64_t kSecondsOfDay = 86'400;
constexpr int64_t kTimezoneBias = 1'440;  // the wire's zone is offset minutes + 1440
constexpr int64_t kNanosOfSecond = 1'000'000'000;

// What a timestamp column is made of, whichever form it came in: `epoch` in units of 10^-epoch_digits seconds,
// `fraction` in nanoseconds or absent, `zone` for TIMESTAMP_TZ. All INT64.
struct TimestampParts {
  ArrayPtr epoch;
  ArrayPtr fraction;
  ArrayPtr zone;
  int epoch_digits = 0;
};

ArrayPtr child_as_int64(const ColumnPlan& plan, const arrow::StructArray& parent, const char* name) {
  const ArrayPtr child = parent.GetFieldByName(name);
  const ArrayPtr wide = child ? widen_to_int64(child) : nullptr;
  if (!wide) throw_wire_type(plan, *parent.type());
  return wide;
}

// By the physical type and the children's names; the scale only says the unit of a lone epoch. (Deciding by scale
// alone is the mistake of ADBC 1.11: TZ(3) came out a thousandfold.)
TimestampParts timestamp_parts(const ColumnPlan& plan, const ArrayPtr& wire) {
  TimestampParts parts;
  if (wire->type_id() != arrow::Type::STRUCT) {
    parts.epoch = plan.zoned ? nullptr : widen_to_int64(wire);
    if (!parts.epoch) throw_wire_type(plan, *wire->type());
    parts.epoch_digits = plan.scale;
    return parts;
  }
  const auto& parent = static_cast<const arrow::StructArray&>(*wire);
  parts.epoch = child_as_int64(plan, parent, "epoch");
  const bool has_fraction = parent.type()->num_fields() == (plan.zoned ? 3 : 2);
  if (!has_fraction && !(plan.zoned && parent.type()->num_fields() == 2)) throw_wire_type(plan, *wire->type());
  if (has_fraction) parts.fraction = child_as_int64(plan, parent, "fraction");
  if (plan.zoned) parts.zone = child_as_int64(plan, parent, "timezone");
  parts.epoch_digits = has_fraction ? 0 : plan.scale;
  return parts;
}

// Null where the struct is, or where its epoch is.
ArrayPtr null_like(const ArrayPtr& wire, const TimestampParts& parts) {
  if (parts.epoch == wire || parts.epoch->null_count() == 0 || wire->null_count() == parts.epoch->length()) return wire;
  arrow::BooleanBuilder builder;
  for (int64_t i = 0; i < wire->length(); ++i)
    take(wire->IsValid(i) && parts.epoch->IsValid(i) ? builder.Append(true) : builder.AppendNull());
  return take(builder.Finish());
}

[[noreturn]] void throw_timestamp_range(const ColumnPlan& plan, int64_t row) {
  if (plan.on_subsecond == SubsecondMode::nanos) {
    throw_value_error(plan, row, "snowflake.timestamp_out_of_range",
                      "the timestamp lies outside 1677-09-21 to 2262-04-11, the range of 64-bit nanoseconds",
                      "set on_subsecond = \"error\", \"truncate\" or \"round\" for the table: microseconds reach every year");
  }
  throw_value_error(plan, row, "snowflake.timestamp_out_of_range", "the timestamp does not fit 64-bit microseconds");
}

[[noreturn]] void throw_subsecond(const ColumnPlan& plan, int64_t row) {
  throw_value_error(plan, row, "snowflake.subsecond_digits",
                    "the timestamp has digits below the microsecond, which PostgreSQL cannot hold",
                    "set on_subsecond = \"truncate\", \"round\" or \"nanos\" for the table");
}

int64_t checked(const ColumnPlan& plan, int64_t row, TimeResult result) {
  if (result.shortened && plan.policies != nullptr) ++plan.policies->on_subsecond;
  if (result.problem == TimeProblem::none) return result.value;
  if (result.problem == TimeProblem::subsecond) throw_subsecond(plan, row);
  throw_timestamp_range(plan, row);
}

// `instant(i)` gives a TimeResult; it is only asked for valid rows.
template <typename Instant>
ArrayPtr make_timestamps(const ColumnPlan& plan, const arrow::Array& like, int64_t first_row, Instant&& instant) {
  std::shared_ptr<arrow::Buffer> buffer = allocate_values<int64_t>(like.length());
  auto* out = reinterpret_cast<int64_t*>(buffer->mutable_data());
  const bool no_nulls = like.null_count() == 0;
  for (int64_t i = 0; i < like.length(); ++i) {
    out[i] = no_nulls || like.IsValid(i) ? checked(plan, first_row + i, instant(i)) : 0;
  }
  return make_values(plan.type, like, std::move(buffer));
}

ArrayPtr timestamps_of_fraction(const ColumnPlan& plan, const arrow::Array& like, const TimestampParts& parts,
                                int64_t first_row) {
  const auto* epoch = values_of<int64_t>(*parts.epoch);
  const auto* fraction = values_of<int64_t>(*parts.fraction);
  // The fraction is nanoseconds at every scale, as both of Snowflake's drivers take it. One that has digits below the
  // column's scale would be in another unit: better refused than a thousandfold off.
  const int64_t granule = kPowersOfTen[9 - plan.scale];
  return make_timestamps(plan, like, first_row, [&](int64_t i) {
    if (fraction[i] < 0 || fraction[i] >= kNanosOfSecond || fraction[i] % granule != 0) {
      throw_value_error(plan, first_row + i, "snowflake.unexpected_fraction",
                        fmt::format("the fraction of a {} is not in nanoseconds", plan.source_type.text()),
                        "cast the column to scale 9 in a query, and report this");
    }
    return instant_of_seconds(epoch[i], fraction[i], plan.on_subsecond);
  });
}

ArrayPtr convert_tz_offset(const ColumnPlan& plan, const arrow::Array& like, const arrow::Array& zone, int64_t first_row) {
  const auto* minutes = values_of<int64_t>(zone);
  std::shared_ptr<arrow::Buffer> buffer = allocate_values<int16_t>(like.length());
  auto* out = reinterpret_cast<int16_t*>(buffer->mutable_data());
  for (int64_t i = 0; i < like.length(); ++i) {
    out[i] = 0;
    if (like.IsNull(i)) continue;
    if (minutes[i] < 0 || minutes[i] > 2 * kTimezoneBias) {
      throw_value_error(plan, first_row + i, "snowflake.bad_timezone", "the offset of a TIMESTAMP_TZ is not within a day");
    }
    out[i] = static_cast<int16_t>(minutes[i] - kTimezoneBias);
  }
  return make_values(plan.type, like, std::move(buffer));
}

}  // namespace

ArrayPtr convert_timestamp(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row) {
  const TimestampParts parts = timestamp_parts(plan, wire);
  const ArrayPtr like = null_like(wire, parts);
  if (plan.kind == ColumnKind::tz_offset) return convert_tz_offset(plan, *like, *parts.zone, first_row);
  if (parts.fraction) return timestamps_of_fraction(plan, *like, parts, first_row);
  const auto* epoch = values_of<int64_t>(*parts.epoch);
  return make_timestamps(plan, *like, first_row,
                         [&](int64_t i) { return instant_of_units(epoch[i], parts.epoch_digits, plan.on_subsecond); });
}

ArrayPtr convert_time(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row) {
  const ArrayPtr units = widen_to_int64(wire);
  if (!units) throw_wire_type(plan, *wire->type());
  const auto* values = values_of<int64_t>(*units);
  const int64_t day = kSecondsOfDay * kPowersOfTen[plan.scale];
  // Nanoseconds only where the file keeps them; else microseconds, shortened as on_subsecond says.
  const bool nanos = static_cast<const arrow::Time64Type&>(*plan.type).unit() == arrow::TimeUnit::NANO;
  const SubsecondMode mode = nanos ? SubsecondMode::nanos : plan.on_subsecond;
  std::shared_ptr<arrow::Buffer> buffer = allocate_values<int64_t>(units->length());
  auto* out = reinterpret_cast<int64_t*>(buffer->mutable_data());
  for (int64_t i = 0; i < units->length(); ++i) {
    out[i] = 0;
    if (units->IsNull(i)) continue;
    if (values[i] < 0 || values[i] >= day)
      throw_value_error(plan, first_row + i, "snowflake.bad_time", "the time is not within a day");
    // 23:59:59.9999999 rounds to 24:00:00, as in PostgreSQL, which has that time.
    out[i] = checked(plan, first_row + i, instant_of_units(values[i], plan.scale, mode));
  }
  return make_values(plan.type, *units, std::move(buffer));
}

}  // namespace snowmelt
