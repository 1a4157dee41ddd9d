// Types of extensions: pgvector's vector from lists of numbers, PostGIS's geometry and geography from (E)WKB.
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "snowmelt/load/column_codec.h"

namespace snowmelt {
namespace {

// vector_send: int16 dimension, int16 unused, float4 elements.
constexpr uint32_t kVectorHeader = 4;
constexpr int64_t kVectorDimensionMax = 16'000;

template <typename Element>
float element_or_refuse(const EncoderColumn& column, int64_t row, Element value) {
  const auto kept = static_cast<float>(value);
  if constexpr (std::is_floating_point_v<Element>) {
    if (!std::isfinite(value)) {
      throw_value_error(column, row, "copy.not_finite", "an element is NaN or infinite, which a vector does not take",
                        "give the target column the type real[]");
    }
  }
  if (static_cast<long double>(kept) != static_cast<long double>(value)) {
    throw_value_error(column, row, "copy.not_exact", "an element has more digits than a vector's float4",
                      "give the target column an array type");
  }
  return kept;
}

template <typename Offset, typename Element>
void measure_vector(const EncoderColumn& column, const ColumnBlock& block, uint32_t* sizes, CodecScratch&) {
  const Offset* offsets = values_of<Offset>(block);
  const arrow::ArrayData& child = *block.data.child_data[0];
  const auto* elements = child.GetValues<Element>(1);
  const bool nulls = child.GetNullCount() != 0;
  for_each_row(
      block,
      [&](int64_t i) {
        const int64_t dimension = offsets[i + 1] - offsets[i];
        if (dimension < 1 || dimension > kVectorDimensionMax || (column.length_max >= 0 && dimension != column.length_max)) {
          throw_value_error(column, block.row_number(i), "copy.vector_dimension",
                            fmt::format("the list has {} elements, and the column is {}", dimension, column.type),
                            "give the target column the type real[]");
        }
        for (int64_t e = offsets[i]; e < offsets[i + 1]; ++e) {
          if (nulls && child.IsNull(e)) {
            throw_value_error(column, block.row_number(i), "copy.null_in_vector",
                              "an element is NULL, which a vector does not take", "give the target column the type real[]");
          }
          element_or_refuse(column, block.row_number(i), elements[e]);
        }
        sizes[i] += kFieldHeader + kVectorHeader + static_cast<uint32_t>(dimension) * 4;
      },
      [&](int64_t i) { sizes[i] += kFieldHeader; });
}

template <typename Offset, typename Element>
void write_vector(const EncoderColumn&, const ColumnBlock& block, uint8_t** positions, CodecScratch&) {
  const Offset* offsets = values_of<Offset>(block);
  const auto* elements = block.data.child_data[0]->GetValues<Element>(1);
  for_each_row(
      block,
      [&](int64_t i) {
        const auto dimension = static_cast<uint32_t>(offsets[i + 1] - offsets[i]);
        uint8_t* to = positions[i];
        put32(to, kVectorHeader + dimension * 4);
        put16(to + 4, static_cast<uint16_t>(dimension));
        put16(to + 6, 0);
        to += kFieldHeader + kVectorHeader;
        for (int64_t e = offsets[i]; e < offsets[i + 1]; ++e, to += 4) {
          const auto value = static_cast<float>(elements[e]);
          uint32_t bits;
          std::memcpy(&bits, &value, sizeof bits);
          put32(to, bits);
        }
        positions[i] = to;
      },
      [&](int64_t i) {
        put32(positions[i], kNullLength);
        positions[i] += kFieldHeader;
      });
}

template <typename Offset, typename Element>
inline constexpr ColumnCodec kVector{&measure_vector<Offset, Element>, &write_vector<Offset, Element>};

template <typename Offset>
const ColumnCodec* vector_of(arrow::Type::type element) {
  switch (element) {
    case arrow::Type::FLOAT: return &kVector<Offset, float>;
    case arrow::Type::DOUBLE: return &kVector<Offset, double>;
    case arrow::Type::INT32: return &kVector<Offset, int32_t>;
    case arrow::Type::INT64: return &kVector<Offset, int64_t>;
    default: return nullptr;
  }
}

// WKB as hexadecimal text, the form PostGIS prints.
template <typename Offset>
void measure_hex(const EncoderColumn& column, const ColumnBlock& block, uint32_t* sizes, CodecScratch&) {
  for_each_row(
      block,
      [&](int64_t i) {
        const std::string_view text = text_at<Offset>(block, i);
        bool good = !text.empty() && text.size() % 2 == 0;
        for (const char c : text) good = good && hex_digit(c) >= 0;
        if (!good) {
          throw_value_error(column, block.row_number(i), "copy.not_wkb", "the text is not WKB in hexadecimal",
                            "export with session_parameters = { GEOGRAPHY_OUTPUT_FORMAT = \"EWKB\", GEOMETRY_OUTPUT_FORMAT = "
                            "\"EWKB\" }, or give the target column the type text");
        }
        sizes[i] += kFieldHeader + static_cast<uint32_t>(text.size() / 2);
      },
      [&](int64_t i) { sizes[i] += kFieldHeader; });
}

template <typename Offset>
void write_hex(const EncoderColumn&, const ColumnBlock& block, uint8_t** positions, CodecScratch&) {
  for_each_row(
      block,
      [&](int64_t i) {
        const std::string_view text = text_at<Offset>(block, i);
        put32(positions[i], static_cast<uint32_t>(text.size() / 2));
        positions[i] += kFieldHeader;
        for (size_t at = 0; at < text.size(); at += 2)
          *positions[i]++ = static_cast<uint8_t>(hex_digit(text[at]) << 4 | hex_digit(text[at + 1]));
      },
      [&](int64_t i) {
        put32(positions[i], kNullLength);
        positions[i] += kFieldHeader;
      });
}

template <typename Offset>
inline constexpr ColumnCodec kHex{&measure_hex<Offset>, &write_hex<Offset>};

}  // namespace

const ColumnCodec* vector_codec(const arrow::DataType& from) {
  if (from.id() == arrow::Type::LIST) return vector_of<int32_t>(from.field(0)->type()->id());
  return from.id() == arrow::Type::LARGE_LIST ? vector_of<int64_t>(from.field(0)->type()->id()) : nullptr;
}

const ColumnCodec* geometry_codec(const arrow::DataType& from) {
  if (from.id() == arrow::Type::STRING) return &kHex<int32_t>;
  if (from.id() == arrow::Type::LARGE_STRING) return &kHex<int64_t>;
  return binary_codec(from);  // geometry_recv reads (E)WKB
}

}  // namespace snowmelt
