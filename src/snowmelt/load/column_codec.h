// How one column's values become binary COPY fields. A codec works on blocks of rows: it measures first, so that the encoder can
// lay the rows out in one buffer, then writes. Two calls a column and block; nothing is allocated or dispatched a cell.
#pragma once

#include <arrow/api.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace snowmelt {

// ISO C++ has no 128-bit integers; both compilers we care about do.
__extension__ using Int128 = __int128;
__extension__ using UInt128 = unsigned __int128;

struct EncoderColumn;

// Rows [begin, begin + rows) of one array.
struct ColumnBlock {
  const arrow::ArrayData& data;
  int64_t begin = 0;  // includes data.offset
  int64_t rows = 0;
  int64_t first_row = 0;                 // number of the first one in the table, from 1; for messages
  const int64_t* row_numbers = nullptr;  // of list elements: the row each belongs to

  bool has_nulls() const { return data.GetNullCount() != 0; }
  int64_t row_number(int64_t i) const { return row_numbers == nullptr ? first_row + i : row_numbers[i]; }
};

// What measure() keeps for write(); reused from block to block.
struct CodecScratch {
  std::vector<uint8_t> bytes;       // fields that are made while measuring (NUMERIC)
  std::vector<uint32_t> lengths;    // of those, a row
  std::vector<uint32_t> sizes;      // a list's elements …
  std::vector<uint8_t*> positions;  // … and where they go
  std::vector<int64_t> row_numbers;
  std::unique_ptr<CodecScratch> child;
  std::shared_ptr<arrow::ArrayData> dictionary;  // the one whose fields are in `bytes` …
  std::vector<uint32_t> starts;                  // … beginning here; one more than there are
  std::shared_ptr<arrow::ArrayData> plain;       // the block's values one by one, where the dictionary holds a refused one
};

struct ColumnCodec {
  // Adds each row's field (length word included) to sizes[0..rows). Throws ValueError for a value that cannot be kept.
  void (*measure)(const EncoderColumn& column, const ColumnBlock& block, uint32_t* sizes, CodecScratch& scratch);
  // Writes each row's field at positions[i] and moves it on.
  void (*write)(const EncoderColumn& column, const ColumnBlock& block, uint8_t** positions, CodecScratch& scratch);
};

struct EncoderColumn {
  int field = 0;     // of the file's schema
  std::string name;  // in PostgreSQL
  std::string type;  // of the target, for messages
  const ColumnCodec* codec = nullptr;
  int source_scale = 0;  // of a decimal
  int precision = 0;     // of numeric(p,s); 0: any
  int scale = 0;
  int fraction_digits = 6;  // of time(n) and timestamp(n)
  int64_t length_max = -1;  // of varchar(n), in characters
  uint32_t element_oid = 0;
  bool not_null = false;
  std::shared_ptr<EncoderColumn> element;  // of a list
};

// Column and row are named; the value is not, for logs are read by more people than tables are.
[[noreturn]] void throw_value_error(const EncoderColumn& column, int64_t row, const char* code, const std::string& message,
                                    const std::string& hint);

inline constexpr uint32_t kFieldHeader = 4;  // the length word
inline constexpr uint32_t kNullLength = 0xffffffff;

inline void put16(uint8_t* to, uint16_t value) {
  value = __builtin_bswap16(value);
  std::memcpy(to, &value, sizeof value);
}
inline void put32(uint8_t* to, uint32_t value) {
  value = __builtin_bswap32(value);
  std::memcpy(to, &value, sizeof value);
}
inline void put64(uint8_t* to, uint64_t value) {
  value = __builtin_bswap64(value);
  std::memcpy(to, &value, sizeof value);
}

// memcpy for the short lengths that fields have: overlapping fixed-size moves instead of a call (2 ns against 6).
inline void copy_short(uint8_t* to, const uint8_t* from, size_t n) {
  if (n > 32) {
    std::memcpy(to, from, n);
  } else if (n >= 16) {
    uint8_t head[16], tail[16];
    std::memcpy(head, from, 16);
    std::memcpy(tail, from + n - 16, 16);
    std::memcpy(to, head, 16);
    std::memcpy(to + n - 16, tail, 16);
  } else if (n >= 8) {
    uint64_t head, tail;
    std::memcpy(&head, from, 8);
    std::memcpy(&tail, from + n - 8, 8);
    std::memcpy(to, &head, 8);
    std::memcpy(to + n - 8, &tail, 8);
  } else if (n >= 4) {
    uint32_t head, tail;
    std::memcpy(&head, from, 4);
    std::memcpy(&tail, from + n - 4, 4);
    std::memcpy(to, &head, 4);
    std::memcpy(to + n - 4, &tail, 4);
  } else {
    for (size_t i = 0; i < n; ++i) to[i] = from[i];
  }
}

// Calls valid(i) or null(i) for each row of the block; without nulls the test is gone.
template <typename Valid, typename Null>
inline void for_each_row(const ColumnBlock& block, Valid&& valid, Null&& null) {
  if (!block.has_nulls()) {
    for (int64_t i = 0; i < block.rows; ++i) valid(i);
    return;
  }
  const uint8_t* bits = block.data.buffers[0]->data();
  for (int64_t i = 0; i < block.rows; ++i) {
    const int64_t at = block.begin + i;
    if ((bits[at >> 3] >> (at & 7)) & 1)
      valid(i);
    else
      null(i);
  }
}

template <typename T>
const T* values_of(const ColumnBlock& block) {
  return reinterpret_cast<const T*>(block.data.buffers[1]->data()) + block.begin;
}

// Of a string or binary array with offsets of this width.
template <typename Offset>
std::string_view text_at(const ColumnBlock& block, int64_t i) {
  const Offset* offsets = values_of<Offset>(block);
  if (block.data.buffers[2] == nullptr) return {};
  return {reinterpret_cast<const char*>(block.data.buffers[2]->data()) + offsets[i],
          static_cast<size_t>(offsets[i + 1] - offsets[i])};
}

// -1 for what is none.
inline int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// The codecs, by what they read. nullptr where the Arrow type is not theirs.
enum class IntegerTarget { int2, int4, int8, float4, float8 };
const ColumnCodec* integer_codec(const arrow::DataType& from, IntegerTarget to);  // integers, and decimals of scale 0
const ColumnCodec* float_codec(const arrow::DataType& from, bool to_float8);
const ColumnCodec* numeric_codec(const arrow::DataType& from);       // integers and decimals
const ColumnCodec* numeric_text_codec(const arrow::DataType& from);  // DECFLOAT's text
const ColumnCodec* boolean_codec(const arrow::DataType& from);
const ColumnCodec* date_codec(const arrow::DataType& from);
const ColumnCodec* time_codec(const arrow::DataType& from);
const ColumnCodec* timestamp_codec(const arrow::DataType& from);  // dates too
const ColumnCodec* text_codec(const arrow::DataType& from);
const ColumnCodec* jsonb_codec(const arrow::DataType& from);
const ColumnCodec* binary_codec(const arrow::DataType& from);
const ColumnCodec* uuid_codec(const arrow::DataType& from);      // 16 bytes, or text
const ColumnCodec* interval_codec(const arrow::DataType& from);  // ISO 8601 text, durations, Parquet's 12 bytes
const ColumnCodec* timetz_codec(const arrow::DataType& from);    // text with an offset
const ColumnCodec* vector_codec(const arrow::DataType& from);    // lists of numbers; length_max is the dimension
const ColumnCodec* geometry_codec(const arrow::DataType& from);  // (E)WKB, or its hexadecimal text
const ColumnCodec* array_codec(const arrow::DataType& from);     // EncoderColumn::element does the elements

// For blocks of dictionary<int32, T>, of any column whose own codec reads T: that one makes each entry's field once.
const ColumnCodec& dictionary_codec();

}  // namespace snowmelt
