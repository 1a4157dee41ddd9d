// One instant from Snowflake's units to the file's: microseconds, or nanoseconds where the table asks for them.
#pragma once

#include <cstdint>

#include "snowmelt/config.h"
#include "snowmelt/extract/wire_arrays.h"

namespace snowmelt {

enum class TimeProblem { none, subsecond, range };

struct TimeResult {
  int64_t value = 0;
  TimeProblem problem = TimeProblem::none;
  bool shortened = false;  // digits below the microsecond were given up, as the mode says
};

// `micros` is the floor, `rest` / `granule` the part of a microsecond above it (0 <= rest < granule).
inline TimeResult settle_subsecond(int64_t micros, int64_t rest, int64_t granule, SubsecondMode mode) {
  if (rest == 0) return {micros};
  if (mode == SubsecondMode::truncate) return {micros, TimeProblem::none, true};
  if (mode == SubsecondMode::error) return {0, TimeProblem::subsecond};
  const bool up = 2 * rest > granule || (2 * rest == granule && micros % 2 != 0);  // half to even, as PostgreSQL rounds
  return {micros + (up ? 1 : 0), TimeProblem::none, true};
}

inline TimeResult multiplied(int64_t value, int64_t factor, int64_t added) {
  int64_t product = 0;
  int64_t sum = 0;
  if (__builtin_mul_overflow(value, factor, &product) || __builtin_add_overflow(product, added, &sum))
    return {0, TimeProblem::range};
  return {sum};
}

// `units` of 10^-digits seconds since 1970, digits 0..9.
inline TimeResult instant_of_units(int64_t units, int digits, SubsecondMode mode) {
  if (mode == SubsecondMode::nanos) return multiplied(units, kPowersOfTen[9 - digits], 0);
  if (digits <= 6) return multiplied(units, kPowersOfTen[6 - digits], 0);
  const int64_t granule = kPowersOfTen[digits - 6];
  const int64_t micros = floor_divide(units, granule);
  return settle_subsecond(micros, units - micros * granule, granule, mode);
}

// Seconds since 1970 (floor) and 0..999,999,999 nanoseconds above them.
inline TimeResult instant_of_seconds(int64_t seconds, int64_t nanos, SubsecondMode mode) {
  if (mode == SubsecondMode::nanos) {
    // In 128 bits: for the first second of the range the product alone overflows, the sum does not.
    const int128_t value = static_cast<int128_t>(seconds) * kPowersOfTen[9] + nanos;
    if (value != static_cast<int64_t>(value)) return {0, TimeProblem::range};
    return {static_cast<int64_t>(value)};
  }
  const TimeResult micros = multiplied(seconds, kPowersOfTen[6], nanos / 1'000);
  if (micros.problem != TimeProblem::none) return micros;
  return settle_subsecond(micros.value, nanos % 1'000, 1'000, mode);
}

}  // namespace snowmelt
