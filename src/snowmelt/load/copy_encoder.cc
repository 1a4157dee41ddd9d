#include "snowmelt/load/copy_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

// A block is written column by column into rows that lie side by side: they should stay in the second-level cache meanwhile.
constexpr size_t kBlockBytes = 256 * 1024;
constexpr int64_t kBlockRowsMax = 1024;
constexpr int64_t kBlockRowsMin = 16;
// A block of the same text of 400 KB a thousand times is 400 MB, though its dictionary is small: it is cut where it has this
// much.
constexpr uint64_t kBlockBytesMax = 4 << 20;
// One COPY message, and one row in the server's memory, ends below 1 GiB.
constexpr uint64_t kRowBytesMax = 0x3fffffff;

constexpr std::string_view kHeader("PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
constexpr std::string_view kTrailer("\377\377", 2);

void require_not_null(const EncoderColumn& column, const ColumnBlock& block) {
  if (!column.not_null || !block.has_nulls()) return;
  for_each_row(
      block, [](int64_t) {},
      [&](int64_t i) {
        throw_value_error(column, block.row_number(i), "copy.null_in_not_null",
                          "the value is NULL, and the target column is NOT NULL",
                          "drop the column's NOT NULL, or leave such rows out with query = \"select …\"");
      });
}

}  // namespace

void throw_value_error(const EncoderColumn& column, int64_t row, const char* code, const std::string& message,
                       const std::string& hint) {
  throw ValueError(code, message, {.where = fmt::format("column {}, row {}", column.name, row), .hint = hint});
}

uint8_t* CopyBuffer::extend(size_t n) {
  if (size_ + n > capacity_) {
    const size_t capacity = std::max(size_ + n, capacity_ + capacity_ / 2);
    auto data = std::make_unique_for_overwrite<uint8_t[]>(capacity);
    if (size_ != 0) std::memcpy(data.get(), data_.get(), size_);
    data_ = std::move(data);
    capacity_ = capacity;
  }
  uint8_t* at = data_.get() + size_;
  size_ += n;
  return at;
}

void CopyBuffer::append(std::string_view text) { std::memcpy(extend(text.size()), text.data(), text.size()); }

CopyEncoder::CopyEncoder(std::vector<EncoderColumn> columns)
    : columns_(std::move(columns)), scratch_(columns_.size()), sizes_(kBlockRowsMax), positions_(kBlockRowsMax) {}

std::string_view CopyEncoder::header() { return kHeader; }
std::string_view CopyEncoder::trailer() { return kTrailer; }

void CopyEncoder::encode(const arrow::RecordBatch& batch, int64_t first_row, CopyBuffer& out) {
  encode(batch, 0, first_row, std::numeric_limits<size_t>::max(), out);
}

int64_t CopyEncoder::encode(const arrow::RecordBatch& batch, int64_t begin, int64_t first_row, size_t enough, CopyBuffer& out) {
  while (begin < batch.num_rows() && out.size() < enough) {
    const auto fitting = static_cast<int64_t>(kBlockBytes / std::max<size_t>(row_bytes_, 1));
    const int64_t least = row_bytes_ > kBlockBytes ? 1 : kBlockRowsMin;
    const int64_t rows = std::min(batch.num_rows() - begin, std::clamp(fitting, least, kBlockRowsMax));
    const size_t before = out.size();
    const int64_t taken = encode_block(batch, begin, rows, first_row + begin, out);
    row_bytes_ = (out.size() - before) / static_cast<size_t>(taken);
    begin += taken;
  }
  return begin;
}

namespace {

const ColumnCodec& codec_of(const EncoderColumn& column, const ColumnBlock& block) {
  return block.data.type->id() == arrow::Type::DICTIONARY ? dictionary_codec() : *column.codec;
}

ColumnBlock block_of(const EncoderColumn& column, const arrow::RecordBatch& batch, int64_t begin, int64_t rows,
                     int64_t first_row) {
  const arrow::ArrayData& data = *batch.column_data(column.field);
  return {.data = data, .begin = data.offset + begin, .rows = rows, .first_row = first_row};
}

[[noreturn]] void refuse_row(const EncoderColumn& column, int64_t row) {
  throw_value_error(column, row, "copy.row_too_large", "with this value the row is larger than the 1 GB that PostgreSQL takes",
                    "leave the row's largest column out with query = \"select …\"");
}

}  // namespace

// Each column adds less than 3 GB to a row that has less than 1 GB, so that 32 bits do not overflow before it is seen.
void CopyEncoder::measure_block(const arrow::RecordBatch& batch, int64_t begin, int64_t rows, int64_t first_row) {
  std::fill_n(sizes_.begin(), rows, uint32_t{2});  // the field count
  std::optional<ValueError> refused;
  for (size_t c = 0; c < columns_.size(); ++c) {
    const ColumnBlock block = block_of(columns_[c], batch, begin, rows, first_row);
    try {
      require_not_null(columns_[c], block);
      codec_of(columns_[c], block).measure(columns_[c], block, sizes_.data(), scratch_[c]);
      const auto largest = std::max_element(sizes_.begin(), sizes_.begin() + rows);
      if (*largest > kRowBytesMax) refuse_row(columns_[c], block.row_number(largest - sizes_.begin()));
    } catch (const ValueError& offender) {  // each column's first offender of this block is named in one breath
      refused ? refused->add_offender(offender) : void(refused.emplace(offender));
    }
  }
  if (refused) throw *refused;
}

int64_t CopyEncoder::encode_block(const arrow::RecordBatch& batch, int64_t begin, int64_t rows, int64_t first_row,
                                  CopyBuffer& out) {
  measure_block(batch, begin, rows, first_row);
  uint64_t total = 0;
  for (int64_t i = 0; i < rows; ++i) {
    total += sizes_[i];
    if (total <= kBlockBytesMax || i == 0) continue;
    rows = i;
    measure_block(batch, begin, rows, first_row);
    total = std::accumulate(sizes_.begin(), sizes_.begin() + rows, uint64_t{0});
    break;
  }

  uint8_t* at = out.extend(total);
  for (int64_t i = 0; i < rows; ++i) {
    put16(at, static_cast<uint16_t>(columns_.size()));
    positions_[i] = at + 2;
    at += sizes_[i];
  }
  for (size_t c = 0; c < columns_.size(); ++c) {
    const ColumnBlock block = block_of(columns_[c], batch, begin, rows, first_row);
    codec_of(columns_[c], block).write(columns_[c], block, positions_.data(), scratch_[c]);
  }
  return rows;
}

}  // namespace snowmelt
