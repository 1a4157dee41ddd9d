// Values whose length is their own: text, JSON, bytes, UUIDs.
#include <fmt/format.h>

#include <cstring>

#include "snowmelt/load/column_codec.h"
#include "snowmelt/storage/json_text.h"
#include "snowmelt/storage/utf8.h"

namespace snowmelt {
namespace {

// A field ends below 1 GB, and block sums below this stay far from the end of 32 bits.
constexpr uint64_t kValueBytesMax = 0x3fffffff;
constexpr uint64_t kBlockBytesUnchecked = 256u << 20;
constexpr uint8_t kJsonbVersion = 1;
constexpr uint32_t kUuidBytes = 16;

template <typename Offset>
const uint8_t* bytes_of(const ColumnBlock& block) {
  static constexpr uint8_t kNone = 0;
  return block.data.buffers[2] == nullptr ? &kNone : block.data.buffers[2]->data();
}

[[noreturn]] void refuse_nul(const EncoderColumn& column, int64_t row) {
  throw_value_error(column, row, "copy.nul_in_text", "the text holds a NUL character, which PostgreSQL's text has not",
                    "set on_nul = \"strip\" or \"replace\" for the table, or load into a bytea column");
}

// Looks again, value by value, for the one that the scan of the whole block tripped over.
template <typename Offset>
void find_bad_text(const EncoderColumn& column, const ColumnBlock& block) {
  const Offset* offsets = values_of<Offset>(block);
  const uint8_t* text = bytes_of<Offset>(block);
  for_each_row(
      block,
      [&](int64_t i) {
        const uint8_t* value = text + offsets[i];
        const auto bytes = static_cast<size_t>(offsets[i + 1] - offsets[i]);
        if (std::memchr(value, 0, bytes) != nullptr) refuse_nul(column, block.row_number(i));
        if (!is_utf8(value, static_cast<int64_t>(bytes))) {
          throw_value_error(column, block.row_number(i), "copy.invalid_utf8", "the text is not valid UTF-8",
                            "load into a bytea column, or mend the file");
        }
      },
      [](int64_t) {});
}

// One scan a block instead of one a value.
template <typename Offset>
void check_text(const EncoderColumn& column, const ColumnBlock& block) {
  const Offset* offsets = values_of<Offset>(block);
  const uint8_t* text = bytes_of<Offset>(block);
  const auto bytes = static_cast<size_t>(offsets[block.rows] - offsets[0]);
  const bool good = std::memchr(text + offsets[0], 0, bytes) == nullptr && are_utf8(text, offsets, block.rows);
  if (!good) find_bad_text<Offset>(column, block);
}

// Before the server does, so that the column's key can be named: jsonb has no U+0000, not even escaped.
template <typename Offset>
void check_json_nul(const EncoderColumn& column, const ColumnBlock& block) {
  const Offset* offsets = values_of<Offset>(block);
  const auto* text = reinterpret_cast<const char*>(bytes_of<Offset>(block));
  const std::string_view whole(text + offsets[0], static_cast<size_t>(offsets[block.rows] - offsets[0]));
  if (whole.find("\\u0000") == std::string_view::npos) return;
  for_each_row(
      block,
      [&](int64_t i) {
        const std::string_view value(text + offsets[i], static_cast<size_t>(offsets[i + 1] - offsets[i]));
        if (find_json_nul(value, 0) == std::string_view::npos) return;
        throw_value_error(column, block.row_number(i), "copy.nul_in_text", "the JSON holds \\u0000, which jsonb has not",
                          "set on_nul = \"strip\" or \"replace\" for the table, or give the column the type json");
      },
      [](int64_t) {});
}

// varchar(n) counts characters; the server would cut trailing spaces beyond n without a word.
template <typename Offset>
void check_length(const EncoderColumn& column, const ColumnBlock& block) {
  if (column.length_max < 0) return;
  const Offset* offsets = values_of<Offset>(block);
  const uint8_t* text = bytes_of<Offset>(block);
  for_each_row(
      block,
      [&](int64_t i) {
        int64_t characters = offsets[i + 1] - offsets[i];
        if (characters <= column.length_max) return;
        for (Offset at = offsets[i]; at < offsets[i + 1]; ++at) characters -= (text[at] & 0xC0) == 0x80 ? 1 : 0;
        if (characters > column.length_max) {
          throw_value_error(column, block.row_number(i), "copy.text_too_long",
                            fmt::format("the text has {} characters, and the column is {}", characters, column.type),
                            "give the target column the type text");
        }
      },
      [](int64_t) {});
}

enum class Content { text, jsonb, bytes };

template <typename Offset, Content content>
void measure_variable(const EncoderColumn& column, const ColumnBlock& block, uint32_t* sizes, CodecScratch&) {
  constexpr uint32_t kPrefix = content == Content::jsonb ? 1 : 0;
  const Offset* offsets = values_of<Offset>(block);
  const auto total = static_cast<uint64_t>(offsets[block.rows] - offsets[0]);
  if (total > kBlockBytesUnchecked) {
    for (int64_t i = 0; i < block.rows; ++i) {
      if (static_cast<uint64_t>(offsets[i + 1] - offsets[i]) + sizes[i] > kValueBytesMax) {
        throw_value_error(column, block.row_number(i), "copy.row_too_large",
                          "with this value the row passes the 1 GB that PostgreSQL takes",
                          "leave the column out with query = \"select …\"");
      }
    }
  }
  if constexpr (content != Content::bytes) check_text<Offset>(column, block);
  if constexpr (content == Content::jsonb) check_json_nul<Offset>(column, block);
  if constexpr (content == Content::text) check_length<Offset>(column, block);
  for_each_row(
      block, [&](int64_t i) { sizes[i] += kFieldHeader + kPrefix + static_cast<uint32_t>(offsets[i + 1] - offsets[i]); },
      [&](int64_t i) { sizes[i] += kFieldHeader; });
}

template <typename Offset, Content content>
void write_variable(const EncoderColumn&, const ColumnBlock& block, uint8_t** positions, CodecScratch&) {
  constexpr uint32_t kPrefix = content == Content::jsonb ? 1 : 0;
  const Offset* offsets = values_of<Offset>(block);
  const uint8_t* from = bytes_of<Offset>(block);
  for_each_row(
      block,
      [&](int64_t i) {
        const auto bytes = static_cast<uint32_t>(offsets[i + 1] - offsets[i]);
        uint8_t* to = positions[i];
        put32(to, bytes + kPrefix);
        to += kFieldHeader;
        if constexpr (kPrefix != 0) *to++ = kJsonbVersion;
        copy_short(to, from + offsets[i], bytes);
        positions[i] = to + bytes;
      },
      [&](int64_t i) {
        put32(positions[i], kNullLength);
        positions[i] += kFieldHeader;
      });
}

template <typename Offset, Content content>
inline constexpr ColumnCodec kVariable{&measure_variable<Offset, content>, &write_variable<Offset, content>};

template <Content content>
const ColumnCodec* variable_codec(arrow::Type::type from) {
  switch (from) {
    case arrow::Type::STRING: return &kVariable<int32_t, content>;
    case arrow::Type::LARGE_STRING: return &kVariable<int64_t, content>;
    case arrow::Type::BINARY: return content == Content::bytes ? &kVariable<int32_t, content> : nullptr;
    case arrow::Type::LARGE_BINARY: return content == Content::bytes ? &kVariable<int64_t, content> : nullptr;
    default: return nullptr;
  }
}

uint32_t width_of(const ColumnBlock& block) {
  return static_cast<uint32_t>(static_cast<const arrow::FixedSizeBinaryType&>(*block.data.type).byte_width());
}

void measure_fixed_bytes(const EncoderColumn&, const ColumnBlock& block, uint32_t* sizes, CodecScratch&) {
  const uint32_t width = width_of(block);
  for_each_row(
      block, [&](int64_t i) { sizes[i] += kFieldHeader + width; }, [&](int64_t i) { sizes[i] += kFieldHeader; });
}

void write_fixed_bytes(const EncoderColumn&, const ColumnBlock& block, uint8_t** positions, CodecScratch&) {
  const uint32_t width = width_of(block);
  const uint8_t* from = block.data.buffers[1]->data() + block.begin * width;
  for_each_row(
      block,
      [&](int64_t i) {
        put32(positions[i], width);
        copy_short(positions[i] + kFieldHeader, from + i * width, width);
        positions[i] += kFieldHeader + width;
      },
      [&](int64_t i) {
        put32(positions[i], kNullLength);
        positions[i] += kFieldHeader;
      });
}
constexpr ColumnCodec kFixedBytes{&measure_fixed_bytes, &write_fixed_bytes};

// 8-4-4-4-12 hexadecimal digits; hyphens as PostgreSQL reads them, after any group of four.
bool parse_uuid(std::string_view text, uint8_t* to) {
  size_t digits = 0;
  for (const char c : text) {
    if (c == '-' && digits % 4 == 0 && digits != 0) continue;
    const int value = hex_digit(c);
    if (value < 0 || digits == 2 * kUuidBytes) return false;
    if (digits % 2 == 0)
      to[digits / 2] = static_cast<uint8_t>(value << 4);
    else
      to[digits / 2] = static_cast<uint8_t>(to[digits / 2] | value);
    ++digits;
  }
  return digits == 2 * kUuidBytes;
}

template <typename Offset>
void measure_uuid_text(const EncoderColumn& column, const ColumnBlock& block, uint32_t* sizes, CodecScratch&) {
  uint8_t parsed[kUuidBytes];
  for_each_row(
      block,
      [&](int64_t i) {
        if (!parse_uuid(text_at<Offset>(block, i), parsed)) {
          throw_value_error(column, block.row_number(i), "copy.not_a_uuid", "the text is not a UUID",
                            "give the target column the type text");
        }
        sizes[i] += kFieldHeader + kUuidBytes;
      },
      [&](int64_t i) { sizes[i] += kFieldHeader; });
}

template <typename Offset>
void write_uuid_text(const EncoderColumn&, const ColumnBlock& block, uint8_t** positions, CodecScratch&) {
  for_each_row(
      block,
      [&](int64_t i) {
        put32(positions[i], kUuidBytes);
        parse_uuid(text_at<Offset>(block, i), positions[i] + kFieldHeader);
        positions[i] += kFieldHeader + kUuidBytes;
      },
      [&](int64_t i) {
        put32(positions[i], kNullLength);
        positions[i] += kFieldHeader;
      });
}

template <typename Offset>
inline constexpr ColumnCodec kUuidText{&measure_uuid_text<Offset>, &write_uuid_text<Offset>};

bool is_fixed_bytes(const arrow::DataType& from) { return from.id() == arrow::Type::FIXED_SIZE_BINARY; }

}  // namespace

const ColumnCodec* text_codec(const arrow::DataType& from) { return variable_codec<Content::text>(from.id()); }
const ColumnCodec* jsonb_codec(const arrow::DataType& from) { return variable_codec<Content::jsonb>(from.id()); }

const ColumnCodec* binary_codec(const arrow::DataType& from) {
  return is_fixed_bytes(from) ? &kFixedBytes : variable_codec<Content::bytes>(from.id());
}

const ColumnCodec* uuid_codec(const arrow::DataType& from) {
  if (is_fixed_bytes(from))
    return static_cast<const arrow::FixedSizeBinaryType&>(from).byte_width() == kUuidBytes ? &kFixedBytes : nullptr;
  if (from.id() == arrow::Type::STRING) return &kUuidText<int32_t>;
  return from.id() == arrow::Type::LARGE_STRING ? &kUuidText<int64_t> : nullptr;
}

}  // namespace snowmelt
