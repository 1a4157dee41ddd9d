#include "snowmelt/load/copy_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

// A block is written column by column into rows that lie side by side: they should stay in the second-level cache meanwhile.
constexpr size_t kBlockBytes = 256 * 1024;
constexpr int64_t kBlockRowsMax = 1024;
constexpr int64_t kBlockRowsMin = 16;
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
  for (int64_t begin = 0; begin < batch.num_rows();) {
    const auto fitting = static_cast<int64_t>(kBlockBytes / std::max<size_t>(row_bytes_, 1));
    const int64_t rows = std::min(batch.num_rows() - begin, std::clamp(fitting, kBlockRowsMin, kBlockRowsMax));
    const size_t before = out.size();
    encode_block(batch, begin, rows, first_row + begin, out);
    row_bytes_ = (out.size() - before) / static_cast<size_t>(rows);
    begin += rows;
  }
}

void CopyEncoder::encode_block(const arrow::RecordBatch& batch, int64_t begin, int64_t rows, int64_t first_row, CopyBuffer& out) {
  std::fill_n(sizes_.begin(), rows, uint32_t{2});  // the field count
  const auto block_of = [&](const EncoderColumn& column) {
    const arrow::ArrayData& data = *batch.column_data(column.field);
    return ColumnBlock{.data = data, .begin = data.offset + begin, .rows = rows, .first_row = first_row};
  };
  const auto codec_of = [](const EncoderColumn& column, const ColumnBlock& block) -> const ColumnCodec& {
    return block.data.type->id() == arrow::Type::DICTIONARY ? dictionary_codec() : *column.codec;
  };
  std::optional<ValueError> refused;
  for (size_t c = 0; c < columns_.size(); ++c) {
    const ColumnBlock block = block_of(columns_[c]);
    try {
      require_not_null(columns_[c], block);
      codec_of(columns_[c], block).measure(columns_[c], block, sizes_.data(), scratch_[c]);
    } catch (const ValueError& offender) {  // each column's first offender of this block is named in one breath
      refused ? refused->add_offender(offender) : void(refused.emplace(offender));
    }
  }
  if (refused) throw *refused;

  uint64_t total = 0;
  for (int64_t i = 0; i < rows; ++i) {
    if (sizes_[i] > kRowBytesMax) {
      throw ValueError(
          "copy.row_too_large", "the row is larger than the 1 GB that PostgreSQL takes in one row",
          {.where = fmt::format("row {}", first_row + i), .hint = "leave its largest column out with query = \"select …\""});
    }
    total += sizes_[i];
  }

  uint8_t* at = out.extend(total);
  for (int64_t i = 0; i < rows; ++i) {
    put16(at, static_cast<uint16_t>(columns_.size()));
    positions_[i] = at + 2;
    at += sizes_[i];
  }
  for (size_t c = 0; c < columns_.size(); ++c) {
    const ColumnBlock block = block_of(columns_[c]);
    codec_of(columns_[c], block).write(columns_[c], block, positions_.data(), scratch_[c]);
  }
}

}  // namespace snowmelt
