// Arrow record batches → the bytes of COPY … FROM STDIN WITH (FORMAT binary).
#pragma once

#include <arrow/api.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "snowmelt/load/column_codec.h"

namespace snowmelt {

// Bytes that grow without being cleared first: COPY buffers are written once and sent.
class CopyBuffer {
 public:
  std::span<const char> bytes() const { return {reinterpret_cast<const char*>(data_.get()), size_}; }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  void clear() { size_ = 0; }
  // Makes room for `n` more bytes, counts them as written and returns where they go.
  uint8_t* extend(size_t n);
  void append(std::string_view text);

 private:
  std::unique_ptr<uint8_t[]> data_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

class CopyEncoder {
 public:
  explicit CopyEncoder(std::vector<EncoderColumn> columns);

  // What comes before the first row and after the last one.
  static std::string_view header();
  static std::string_view trailer();

  // Appends rows of `batch` from `begin` on, whose fields are those the columns were made for, until `out` has `enough` bytes or
  // the batch ends; gives the row to go on with. `first_row` is the number of the batch's first row in the table, from 1. Throws
  // ValueError naming column and row.
  int64_t encode(const arrow::RecordBatch& batch, int64_t begin, int64_t first_row, size_t enough, CopyBuffer& out);
  // All of it.
  void encode(const arrow::RecordBatch& batch, int64_t first_row, CopyBuffer& out);

  const std::vector<EncoderColumn>& columns() const { return columns_; }

 private:
  // Gives how many of the rows it took: fewer where they turn out large.
  int64_t encode_block(const arrow::RecordBatch& batch, int64_t begin, int64_t rows, int64_t first_row, CopyBuffer& out);
  void measure_block(const arrow::RecordBatch& batch, int64_t begin, int64_t rows, int64_t first_row);

  std::vector<EncoderColumn> columns_;
  std::vector<CodecScratch> scratch_;
  std::vector<uint32_t> sizes_;
  std::vector<uint8_t*> positions_;
  size_t row_bytes_ = 128;  // of the last block, on average
};

}  // namespace snowmelt
