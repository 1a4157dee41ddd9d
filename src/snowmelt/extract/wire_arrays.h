// Small tools to read and build Arrow arrays without Arrow's builders: straight loops over values.
#pragma once

#include <arrow/api.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "snowmelt/error.h"

namespace snowmelt {

__extension__ typedef __int128 int128_t;
__extension__ typedef unsigned __int128 uint128_t;

inline constexpr int64_t kPowersOfTen[] = {1,
                                           10,
                                           100,
                                           1'000,
                                           10'000,
                                           100'000,
                                           1'000'000,
                                           10'000'000,
                                           100'000'000,
                                           1'000'000'000,
                                           10'000'000'000,
                                           100'000'000'000,
                                           1'000'000'000'000,
                                           10'000'000'000'000,
                                           100'000'000'000'000,
                                           1'000'000'000'000'000,
                                           10'000'000'000'000'000,
                                           100'000'000'000'000'000,
                                           1'000'000'000'000'000'000};

// 10^exponent for 0..38.
inline constexpr int128_t power_of_ten(int exponent) {
  return exponent <= 18   ? static_cast<int128_t>(kPowersOfTen[exponent])
         : exponent <= 36 ? static_cast<int128_t>(kPowersOfTen[18]) * kPowersOfTen[exponent - 18]
                          : static_cast<int128_t>(kPowersOfTen[18]) * kPowersOfTen[18] * kPowersOfTen[exponent - 36];
}

[[noreturn]] inline void throw_refused(const arrow::Status& status) {
  if (status.IsCapacityError()) {
    throw ValueError("snowflake.chunk_too_large", "a column of one chunk becomes larger than the 2 GB that Arrow takes",
                     {.hint = "leave its largest column out with query = \"select …\""});
  }
  throw BugError("extract.arrow", "Arrow refused: " + status.message());
}
template <typename T>
T take(arrow::Result<T>&& result) {
  if (!result.ok()) throw_refused(result.status());
  return std::move(result).ValueUnsafe();
}
inline void take(const arrow::Status& status) {
  if (!status.ok()) throw_refused(status);
}

template <typename T>
std::unique_ptr<arrow::Buffer> allocate_values(int64_t count) {
  return take(arrow::AllocateBuffer(count * static_cast<int64_t>(sizeof(T))));
}

// The null bitmap of `array` for an array without an offset; nullptr when nothing is null.
inline std::shared_ptr<arrow::Buffer> copy_validity(const arrow::Array& array) {
  if (array.null_count() == 0) return nullptr;
  if (array.offset() == 0) return array.null_bitmap();
  auto bitmap = take(arrow::AllocateEmptyBitmap(array.length()));
  for (int64_t i = 0; i < array.length(); ++i) {
    if (array.IsValid(i)) bitmap->mutable_data()[i / 8] = static_cast<uint8_t>(bitmap->mutable_data()[i / 8] | 1 << (i % 8));
  }
  return bitmap;
}

// A fixed-width array of `type` with the nulls of `like`.
inline std::shared_ptr<arrow::Array> make_values(const std::shared_ptr<arrow::DataType>& type, const arrow::Array& like,
                                                 std::shared_ptr<arrow::Buffer> values) {
  return arrow::MakeArray(
      arrow::ArrayData::Make(type, like.length(), {copy_validity(like), std::move(values)}, like.null_count()));
}

// The same bits under another type (INT64 as DECIMAL64).
inline std::shared_ptr<arrow::Array> relabel(const arrow::Array& array, const std::shared_ptr<arrow::DataType>& type) {
  auto data = array.data()->Copy();
  data->type = type;
  return arrow::MakeArray(std::move(data));
}

template <typename T>
const T* values_of(const arrow::Array& array) {
  return array.data()->GetValues<T>(1);
}

// Calls `visit(values)` with the values of a signed integer array of any width; false for another type.
template <typename Visit>
bool visit_integers(const arrow::Array& array, Visit&& visit) {
  switch (array.type_id()) {
    case arrow::Type::INT8: visit(values_of<int8_t>(array)); return true;
    case arrow::Type::INT16: visit(values_of<int16_t>(array)); return true;
    case arrow::Type::INT32: visit(values_of<int32_t>(array)); return true;
    case arrow::Type::INT64: visit(values_of<int64_t>(array)); return true;
    default: return false;
  }
}

// Any signed integer array as INT64, without a copy when it is one; nullptr for another type.
inline std::shared_ptr<arrow::Array> widen_to_int64(const std::shared_ptr<arrow::Array>& array) {
  if (array->type_id() == arrow::Type::INT64) return array;
  std::shared_ptr<arrow::Buffer> buffer = allocate_values<int64_t>(array->length());
  auto* out = reinterpret_cast<int64_t*>(buffer->mutable_data());
  const int64_t length = array->length();
  const bool integers = visit_integers(*array, [&](const auto* values) {
    for (int64_t i = 0; i < length; ++i) out[i] = values[i];
  });
  return integers ? make_values(arrow::int64(), *array, std::move(buffer)) : nullptr;
}

inline int64_t floor_divide(int64_t value, int64_t divisor) {
  const int64_t quotient = value / divisor;
  return value % divisor < 0 ? quotient - 1 : quotient;
}

}  // namespace snowmelt
