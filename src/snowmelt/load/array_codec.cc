// Lists of one dimension as PostgreSQL arrays; the elements are another codec's work.
#include <numeric>

#include "snowmelt/load/column_codec.h"

namespace snowmelt {
namespace {

// ndim, has-null, element OID, size, lower bound.
constexpr uint32_t kArrayHeader = 20;
constexpr uint32_t kEmptyArrayHeader = 12;
constexpr uint64_t kArrayBytesMax = 0x3fffffff;  // a field ends below 1 GB

// The elements of a block's rows as one block of their own. NULL lists may still span elements: those are encoded for
// nothing, which is rare and harmless.
template <typename Offset>
struct Elements {
  Elements(const ColumnBlock& block, CodecScratch& scratch)
      : offsets(values_of<Offset>(block)), first(offsets[0]), count(offsets[block.rows] - offsets[0]) {
    if (!scratch.child) scratch.child = std::make_unique<CodecScratch>();
    const auto size = static_cast<size_t>(count);
    if (scratch.sizes.size() < size) scratch.sizes.resize(size), scratch.positions.resize(size), scratch.row_numbers.resize(size);
  }
  ColumnBlock block(const ColumnBlock& lists, const CodecScratch& scratch) const {
    const arrow::ArrayData& child = *lists.data.child_data[0];
    return {.data = child, .begin = child.offset + first, .rows = count, .row_numbers = scratch.row_numbers.data()};
  }
  const Offset* offsets;
  int64_t first;
  int64_t count;
};

template <typename Offset>
void measure_array(const EncoderColumn& column, const ColumnBlock& block, uint32_t* sizes, CodecScratch& scratch) {
  const Elements<Offset> elements(block, scratch);
  for (int64_t i = 0; i < block.rows; ++i) {
    for (int64_t e = elements.offsets[i]; e < elements.offsets[i + 1]; ++e)
      scratch.row_numbers[e - elements.first] = block.row_number(i);
  }
  std::fill_n(scratch.sizes.begin(), elements.count, 0u);
  column.element->codec->measure(*column.element, elements.block(block, scratch), scratch.sizes.data(), *scratch.child);
  for_each_row(
      block,
      [&](int64_t i) {
        const auto begin = scratch.sizes.begin() + (elements.offsets[i] - elements.first);
        const auto end = scratch.sizes.begin() + (elements.offsets[i + 1] - elements.first);
        const uint64_t bytes = (begin == end ? kEmptyArrayHeader : kArrayHeader) + std::accumulate(begin, end, uint64_t{0});
        if (bytes > kArrayBytesMax) {
          throw_value_error(column, block.row_number(i), "copy.row_too_large",
                            "the list is larger than the 1 GB that PostgreSQL takes",
                            "leave the column out with query = \"select …\"");
        }
        sizes[i] += kFieldHeader + static_cast<uint32_t>(bytes);
      },
      [&](int64_t i) { sizes[i] += kFieldHeader; });
}

template <typename Offset>
void write_array(const EncoderColumn& column, const ColumnBlock& block, uint8_t** positions, CodecScratch& scratch) {
  const Elements<Offset> elements(block, scratch);
  const ColumnBlock child = elements.block(block, scratch);
  const bool nulls = child.has_nulls();
  std::vector<uint8_t> unwanted;  // where the elements of NULL lists go
  for_each_row(
      block,
      [&](int64_t i) {
        uint8_t* to = positions[i];
        const int64_t begin = elements.offsets[i] - elements.first, end = elements.offsets[i + 1] - elements.first;
        uint8_t* at = to + kFieldHeader + (begin == end ? kEmptyArrayHeader : kArrayHeader);
        put32(to + 4, begin == end ? 0 : 1);
        put32(to + 8, nulls && begin != end ? 1 : 0);
        put32(to + 12, column.element_oid);
        if (begin != end) {
          put32(to + 16, static_cast<uint32_t>(end - begin));
          put32(to + 20, 1);
        }
        for (int64_t e = begin; e < end; ++e) {
          scratch.positions[e] = at;
          at += scratch.sizes[e];
        }
        put32(to, static_cast<uint32_t>(at - to) - kFieldHeader);
        positions[i] = at;
      },
      [&](int64_t i) {
        put32(positions[i], kNullLength);
        positions[i] += kFieldHeader;
        const int64_t begin = elements.offsets[i] - elements.first, end = elements.offsets[i + 1] - elements.first;
        for (int64_t e = begin; e < end; ++e) scratch.positions[e] = nullptr;
      });
  size_t unwanted_bytes = 0;
  for (int64_t e = 0; e < elements.count; ++e) unwanted_bytes += scratch.positions[e] == nullptr ? scratch.sizes[e] : 0;
  unwanted.resize(unwanted_bytes);
  for (size_t e = 0, at = 0; unwanted_bytes != 0 && e < static_cast<size_t>(elements.count); ++e) {
    if (scratch.positions[e] != nullptr) continue;
    scratch.positions[e] = unwanted.data() + at;
    at += scratch.sizes[e];
  }
  column.element->codec->write(*column.element, child, scratch.positions.data(), *scratch.child);
}

template <typename Offset>
constexpr ColumnCodec kArray{&measure_array<Offset>, &write_array<Offset>};

}  // namespace

const ColumnCodec* array_codec(const arrow::DataType& from) {
  if (from.id() == arrow::Type::LIST) return &kArray<int32_t>;
  return from.id() == arrow::Type::LARGE_LIST ? &kArray<int64_t> : nullptr;
}

}  // namespace snowmelt
