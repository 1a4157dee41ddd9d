// Few distinct values, many rows: the fields of a dictionary's entries are made once and copied by index.
#include <arrow/array/builder_binary.h>

#include <limits>
#include <numeric>

#include "snowmelt/error.h"
#include "snowmelt/load/column_codec.h"

namespace snowmelt {
namespace {

// Each entry's field by the column's own codec, which checks it too.
void make_fields(const EncoderColumn& column, const std::shared_ptr<arrow::ArrayData>& dictionary, CodecScratch& scratch) {
  scratch.dictionary = nullptr;  // until all is well
  if (!scratch.child) scratch.child = std::make_unique<CodecScratch>();
  const auto entries = static_cast<size_t>(dictionary->length);
  const ColumnBlock block{.data = *dictionary, .begin = dictionary->offset, .rows = dictionary->length};
  scratch.sizes.assign(entries, 0);
  column.codec->measure(column, block, scratch.sizes.data(), *scratch.child);
  if (std::accumulate(scratch.sizes.begin(), scratch.sizes.end(), uint64_t{0}) > std::numeric_limits<uint32_t>::max())
    throw ValueError("copy.batch_too_large", "a dictionary of 4 GB");  // its rows one by one, then
  scratch.starts.resize(entries + 1);
  scratch.starts[0] = 0;
  std::inclusive_scan(scratch.sizes.begin(), scratch.sizes.end(), scratch.starts.begin() + 1);
  scratch.bytes.resize(scratch.starts.back());
  scratch.positions.resize(entries);
  for (size_t i = 0; i < entries; ++i) scratch.positions[i] = scratch.bytes.data() + scratch.starts[i];
  column.codec->write(column, block, scratch.positions.data(), *scratch.child);
  scratch.dictionary = dictionary;
}

std::shared_ptr<arrow::ArrayData> plain_texts(const ColumnBlock& block) {
  const arrow::StringArray entries(block.data.dictionary);
  const auto* indices = values_of<int32_t>(block);
  arrow::StringBuilder builder;
  const auto check = [](const arrow::Status& status) {
    if (!status.ok()) throw std::bad_alloc();
  };
  for_each_row(
      block, [&](int64_t i) { check(builder.Append(entries.GetView(indices[i]))); },
      [&](int64_t) { check(builder.AppendNull()); });
  std::shared_ptr<arrow::Array> array;
  check(builder.Finish(&array));
  return array->data();
}

ColumnBlock plain_block(const ColumnBlock& block, const CodecScratch& scratch) {
  return {.data = *scratch.plain, .rows = block.rows, .first_row = block.first_row, .row_numbers = block.row_numbers};
}

void measure_dictionary(const EncoderColumn& column, const ColumnBlock& block, uint32_t* sizes, CodecScratch& scratch) {
  scratch.plain = nullptr;
  if (scratch.dictionary != block.data.dictionary) {
    try {
      make_fields(column, block.data.dictionary, scratch);
    } catch (const ValueError&) {  // which row has it, and whether any of this block has, only the rows can tell
      scratch.plain = plain_texts(block);
      return column.codec->measure(column, plain_block(block, scratch), sizes, *scratch.child);
    }
  }
  const auto* indices = values_of<int32_t>(block);
  for_each_row(
      block, [&](int64_t i) { sizes[i] += scratch.sizes[static_cast<size_t>(indices[i])]; },
      [&](int64_t i) { sizes[i] += kFieldHeader; });
}

void write_dictionary(const EncoderColumn& column, const ColumnBlock& block, uint8_t** positions, CodecScratch& scratch) {
  if (scratch.plain) return column.codec->write(column, plain_block(block, scratch), positions, *scratch.child);
  const auto* indices = values_of<int32_t>(block);
  const uint8_t* fields = scratch.bytes.data();
  for_each_row(
      block,
      [&](int64_t i) {
        const auto entry = static_cast<size_t>(indices[i]);
        copy_short(positions[i], fields + scratch.starts[entry], scratch.sizes[entry]);
        positions[i] += scratch.sizes[entry];
      },
      [&](int64_t i) {
        put32(positions[i], kNullLength);
        positions[i] += kFieldHeader;
      });
}

constexpr ColumnCodec kDictionary{&measure_dictionary, &write_dictionary};

}  // namespace

const ColumnCodec& dictionary_codec() { return kDictionary; }

}  // namespace snowmelt
