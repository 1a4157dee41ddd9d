// NUMERIC from scaled integers, without text in between. The wire form (src/backend/utils/adt/numeric.c, numeric_recv): digit
// count, weight, sign, scale, then base-10000 digits without leading or trailing zeros.
#include <arrow/util/decimal.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "snowmelt/load/column_codec.h"

namespace snowmelt {
namespace {

constexpr uint32_t kNumericHeader = 8;
constexpr uint16_t kNegative = 0x4000, kNaN = 0xC000, kPositiveInfinity = 0xD000, kNegativeInfinity = 0xF000;
constexpr int kGroupDigits = 4;
constexpr uint32_t kBase = 10'000;
constexpr uint64_t kFourGroups = 10'000'000'000'000'000;  // four base-10000 digits at a time
constexpr uint64_t kPowers[] = {1, 10, 100, 1'000, 10'000};
constexpr int kScaleMax = 16'383;  // NUMERIC_DSCALE_MAX
constexpr int kWeightMax = 32'767;
constexpr int64_t kExponentMax = 1'000'000'000;  // as written; far beyond both, and sums with a text's length stay exact
// 77 decimal digits of 256 bits: 20 groups and one for the scale's remainder.
constexpr size_t kGroupsMax = 22;
constexpr size_t kFieldMax = kFieldHeader + kNumericHeader + 2 * kGroupsMax;

// A number as base-10000 digits, lowest first. `fraction_groups` of them stand after the point.
struct Groups {
  std::array<uint16_t, kGroupsMax> digit;
  int count = 0;
  int fraction_groups = 0;
  void push(uint64_t value) { digit[count++] = static_cast<uint16_t>(value); }
};

// Digits from the point up, so that group borders fall on it: the last scale % 4 digits first, as the high end of their group.
template <typename Unsigned>
inline void split_low(Unsigned& value, int scale, Groups& groups) {
  groups.fraction_groups = (scale + kGroupDigits - 1) / kGroupDigits;
  const int rest = scale % kGroupDigits;
  if (rest == 0) return;
  switch (rest) {  // constants: a division by one is a multiplication
    case 1:
      groups.push(static_cast<uint64_t>(value % 10) * 1000);
      value /= 10;
      break;
    case 2:
      groups.push(static_cast<uint64_t>(value % 100) * 100);
      value /= 100;
      break;
    default:
      groups.push(static_cast<uint64_t>(value % 1000) * 10);
      value /= 1000;
      break;
  }
}

inline void push_64(uint64_t value, Groups& groups) {
  while (value > 0xffffffff) {
    groups.push(value % kBase);
    value /= kBase;
  }
  for (auto low = static_cast<uint32_t>(value); low != 0; low /= kBase) groups.push(low % kBase);
}

inline void split(uint64_t value, int scale, Groups& groups) {
  split_low(value, scale, groups);
  push_64(value, groups);
}

inline void split(UInt128 value, int scale, Groups& groups) {
  if (static_cast<uint64_t>(value >> 64) == 0) return split(static_cast<uint64_t>(value), scale, groups);
  split_low(value, scale, groups);
  while (static_cast<uint64_t>(value >> 64) != 0) {
    auto low = static_cast<uint64_t>(value % kFourGroups);
    value /= kFourGroups;
    for (int i = 0; i < 4; ++i, low /= kBase) groups.push(low % kBase);
  }
  push_64(static_cast<uint64_t>(value), groups);
}

// 256 bits as four little-endian words; rare (files of other writers), so plain long division.
struct Wide {
  std::array<uint64_t, 4> word;
  uint64_t divide(uint64_t by) {
    UInt128 rest = 0;
    for (int i = 3; i >= 0; --i) {
      rest = (rest << 64) | word[i];
      word[i] = static_cast<uint64_t>(rest / by);
      rest %= by;
    }
    return static_cast<uint64_t>(rest);
  }
  bool zero() const { return (word[0] | word[1] | word[2] | word[3]) == 0; }
};

void split(Wide value, int scale, Groups& groups) {
  groups.fraction_groups = (scale + kGroupDigits - 1) / kGroupDigits;
  if (const int rest = scale % kGroupDigits; rest != 0) groups.push(value.divide(kPowers[rest]) * kPowers[kGroupDigits - rest]);
  while (!value.zero()) groups.push(value.divide(kBase));
}

// Writes the field with its length word; returns its whole length.
inline uint32_t put_numeric(uint8_t* to, const Groups& groups, bool negative, int scale) {
  int low = 0, high = groups.count;
  while (high > 0 && groups.digit[high - 1] == 0) --high;
  while (low < high && groups.digit[low] == 0) ++low;
  const int digits = high - low;
  const uint32_t bytes = kNumericHeader + 2 * static_cast<uint32_t>(digits);
  put32(to, bytes);
  put16(to + 4, static_cast<uint16_t>(digits));
  put16(to + 6, static_cast<uint16_t>(digits == 0 ? 0 : high - 1 - groups.fraction_groups));
  put16(to + 8, digits != 0 && negative ? kNegative : 0);
  put16(to + 10, static_cast<uint16_t>(scale));
  for (int i = 0; i < digits; ++i) put16(to + kFieldHeader + kNumericHeader + 2 * i, groups.digit[high - 1 - i]);
  return kFieldHeader + bytes;
}

[[noreturn]] void refuse_precision(const EncoderColumn& column, int64_t row) {
  throw_value_error(column, row, "copy.out_of_range", "the value has more digits before the point than " + column.type + " holds",
                    "give the target column a larger precision");
}

int decimal_digits(uint16_t group) { return group >= 1000 ? 4 : group >= 100 ? 3 : group >= 10 ? 2 : group > 0 ? 1 : 0; }

// numeric(p,s) of the server cuts digits beyond s without a word: they are looked for here.
void check_target(const EncoderColumn& column, int64_t row, const Groups& groups) {
  int top = groups.count;
  while (top > 0 && groups.digit[top - 1] == 0) --top;
  if (top == 0) return;
  const int weight = top - 1 - groups.fraction_groups;
  // Digits before the point; negative where the value begins after it.
  const int integer_digits = weight * kGroupDigits + decimal_digits(groups.digit[top - 1]);
  if (integer_digits > column.precision - column.scale) refuse_precision(column, row);
  if (column.scale >= groups.fraction_groups * kGroupDigits) return;
  const int kept_groups = column.scale >= 0 ? column.scale / kGroupDigits : 0;
  const int kept_digits = column.scale >= 0 ? column.scale % kGroupDigits : 0;
  bool lost = column.scale < 0;  // numeric(p,-s): not worth a rule of its own, nothing makes such columns by default
  const int first_lost = groups.fraction_groups - kept_groups - 1;  // the group that is cut through
  if (!lost && first_lost < groups.count) lost = groups.digit[first_lost] % kPowers[kGroupDigits - kept_digits] != 0;
  for (int i = 0; i < std::min(first_lost, groups.count); ++i) lost = lost || groups.digit[i] != 0;
  if (lost) {
    throw_value_error(column, row, "copy.not_exact", "the value has more digits after the point than " + column.type + " keeps",
                      "give the target column a larger scale, or round with query = \"select …\"");
  }
}

// The magnitude and sign of a source value.
template <typename T>
struct Magnitude {
  static auto of(T value) {
    using U = std::conditional_t<sizeof(T) == 16, UInt128, uint64_t>;
    return value < 0 ? U{0} - static_cast<U>(value) : static_cast<U>(value);
  }
  static bool negative(T value) { return value < 0; }
};
template <>
struct Magnitude<Wide> {
  static bool negative(const Wide& value) { return static_cast<int64_t>(value.word[3]) < 0; }
  static Wide of(Wide value) {
    if (!negative(value)) return value;
    uint64_t carry = 1;
    for (uint64_t& word : value.word) {
      word = ~word + carry;
      carry = carry != 0 && word == 0 ? 1 : 0;
    }
    return value;
  }
};

void start_fields(const ColumnBlock& block, CodecScratch& scratch, size_t field_max) {
  const size_t bytes = static_cast<size_t>(block.rows) * field_max;
  if (scratch.bytes.size() < bytes) scratch.bytes.resize(bytes);
  if (scratch.lengths.size() < static_cast<size_t>(block.rows)) scratch.lengths.resize(static_cast<size_t>(block.rows));
}

// Fields are made while measuring and copied by write(): working the digits out twice costs more than 20 bytes of cache a row.
template <typename T>
void measure_numeric(const EncoderColumn& column, const ColumnBlock& block, uint32_t* sizes, CodecScratch& scratch) {
  start_fields(block, scratch, kFieldMax);
  const T* values = values_of<T>(block);
  uint8_t* to = scratch.bytes.data();
  const bool checked = column.precision != 0;
  for_each_row(
      block,
      [&](int64_t i) {
        Groups groups;
        split(Magnitude<T>::of(values[i]), column.source_scale, groups);
        if (checked) check_target(column, block.row_number(i), groups);
        const uint32_t bytes = put_numeric(to, groups, Magnitude<T>::negative(values[i]), column.source_scale);
        scratch.lengths[i] = bytes;
        sizes[i] += bytes;
        to += bytes;
      },
      [&](int64_t i) {
        put32(to, kNullLength);
        scratch.lengths[i] = kFieldHeader;
        sizes[i] += kFieldHeader;
        to += kFieldHeader;
      });
}

void write_fields(const EncoderColumn&, const ColumnBlock& block, uint8_t** positions, CodecScratch& scratch) {
  const uint8_t* from = scratch.bytes.data();
  for (int64_t i = 0; i < block.rows; ++i) {
    const uint32_t bytes = scratch.lengths[i];
    copy_short(positions[i], from, bytes);
    positions[i] += bytes;
    from += bytes;
  }
}

template <typename T>
inline constexpr ColumnCodec kNumeric{&measure_numeric<T>, &write_fields};

[[noreturn]] void refuse_text(const EncoderColumn& column, int64_t row) {
  throw_value_error(column, row, "copy.not_a_number", "the text is not a number that " + column.type + " holds",
                    "give the target column the type text, or convert with query = \"select …\"");
}

void append16(std::vector<uint8_t>& to, uint16_t value) {
  to.push_back(static_cast<uint8_t>(value >> 8));
  to.push_back(static_cast<uint8_t>(value));
}
void append32(std::vector<uint8_t>& to, uint32_t value) {
  append16(to, static_cast<uint16_t>(value >> 16));
  append16(to, static_cast<uint16_t>(value));
}

struct DecimalText {
  bool negative = false;
  std::string digits;    // without the point and without zeros at either end; empty for zero
  int64_t exponent = 0;  // value = 0.digits × 10^exponent
  int64_t scale = 0;     // digits after the point, as written
};

bool parse_decimal(std::string_view text, DecimalText& out) {
  size_t at = 0;
  if (at < text.size() && (text[at] == '-' || text[at] == '+')) out.negative = text[at++] == '-';
  int64_t before = 0, after = 0;
  bool point = false, any = false;
  for (; at < text.size() && ((text[at] >= '0' && text[at] <= '9') || (text[at] == '.' && !point)); ++at) {
    if (text[at] == '.') {
      point = true;
      continue;
    }
    any = true;
    out.digits += text[at];
    ++(point ? after : before);
  }
  int64_t written_exponent = 0;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && text[at] == '+') ++at;
    const auto [end, problem] = std::from_chars(text.data() + at, text.data() + text.size(), written_exponent);
    if (problem != std::errc() || written_exponent > kExponentMax || written_exponent < -kExponentMax) return false;
    at = static_cast<size_t>(end - text.data());
  }
  if (!any || at != text.size()) return false;
  out.exponent = before + written_exponent;
  out.scale = std::max<int64_t>(0, after - written_exponent);
  const size_t first = out.digits.find_first_not_of('0');
  if (first == std::string::npos) {
    out.digits.clear();
    return true;
  }
  out.digits.erase(0, first);
  out.exponent -= static_cast<int64_t>(first);
  out.digits.erase(out.digits.find_last_not_of('0') + 1);
  return true;
}

// The field's bytes behind `to`; false for what NUMERIC does not hold.
bool append_numeric_text(std::string_view text, const EncoderColumn& column, std::vector<uint8_t>& to) {
  const auto special = [&](uint16_t sign) {
    append32(to, kNumericHeader);
    for (const uint16_t word : {uint16_t{0}, uint16_t{0}, sign, uint16_t{0}}) append16(to, word);
    return true;
  };
  if (text == "NaN") return special(kNaN);
  if (text == "inf" || text == "Infinity") return column.precision == 0 && special(kPositiveInfinity);
  if (text == "-inf" || text == "-Infinity") return column.precision == 0 && special(kNegativeInfinity);
  DecimalText number;
  if (!parse_decimal(text, number) || number.scale > kScaleMax) return false;
  if (number.digits.empty()) {
    append32(to, kNumericHeader);
    for (const int64_t word : {int64_t{0}, int64_t{0}, int64_t{0}, number.scale}) append16(to, static_cast<uint16_t>(word));
    return true;
  }
  const auto fraction_digits = static_cast<int64_t>(number.digits.size()) - number.exponent;
  if (column.precision != 0 && (number.exponent > column.precision - column.scale || fraction_digits > column.scale))
    return false;
  // Pad in front so that the point falls on a group's border.
  const int64_t groups_before =
      number.exponent > 0 ? (number.exponent + kGroupDigits - 1) / kGroupDigits : -((-number.exponent) / kGroupDigits);
  if (groups_before - 1 > kWeightMax) return false;
  std::string digits(static_cast<size_t>(groups_before * kGroupDigits - number.exponent), '0');
  digits += number.digits;
  digits.append((kGroupDigits - digits.size() % kGroupDigits) % kGroupDigits, '0');
  const size_t groups = digits.size() / kGroupDigits;
  append32(to, static_cast<uint32_t>(kNumericHeader + 2 * groups));
  append16(to, static_cast<uint16_t>(groups));
  append16(to, static_cast<uint16_t>(groups_before - 1));
  append16(to, number.negative ? kNegative : 0);
  append16(to, static_cast<uint16_t>(number.scale));
  for (size_t g = 0; g < digits.size(); g += kGroupDigits) {
    append16(to, static_cast<uint16_t>((digits[g] - '0') * 1000 + (digits[g + 1] - '0') * 100 + (digits[g + 2] - '0') * 10 +
                                       digits[g + 3] - '0'));
  }
  return true;
}

template <typename Offset>
void measure_numeric_text(const EncoderColumn& column, const ColumnBlock& block, uint32_t* sizes, CodecScratch& scratch) {
  start_fields(block, scratch, 0);
  scratch.bytes.clear();
  const Offset* offsets = values_of<Offset>(block);
  const char* text = block.data.buffers[2] == nullptr ? nullptr : reinterpret_cast<const char*>(block.data.buffers[2]->data());
  for_each_row(
      block,
      [&](int64_t i) {
        const size_t before = scratch.bytes.size();
        const std::string_view value(text + offsets[i], static_cast<size_t>(offsets[i + 1] - offsets[i]));
        if (!append_numeric_text(value, column, scratch.bytes)) refuse_text(column, block.row_number(i));
        scratch.lengths[i] = static_cast<uint32_t>(scratch.bytes.size() - before);
        sizes[i] += scratch.lengths[i];
      },
      [&](int64_t i) {
        append32(scratch.bytes, kNullLength);
        scratch.lengths[i] = kFieldHeader;
        sizes[i] += kFieldHeader;
      });
}

template <typename Offset>
inline constexpr ColumnCodec kNumericText{&measure_numeric_text<Offset>, &write_fields};

}  // namespace

const ColumnCodec* numeric_codec(const arrow::DataType& from) {
  // Arrow's decimals may have a negative scale, which the wire form has not.
  if (arrow::is_decimal(from.id()) && static_cast<const arrow::DecimalType&>(from).scale() < 0) return nullptr;
  switch (from.id()) {
    case arrow::Type::INT8: return &kNumeric<int8_t>;
    case arrow::Type::INT16: return &kNumeric<int16_t>;
    case arrow::Type::INT32:
    case arrow::Type::DECIMAL32: return &kNumeric<int32_t>;
    case arrow::Type::INT64:
    case arrow::Type::DECIMAL64: return &kNumeric<int64_t>;
    case arrow::Type::UINT8: return &kNumeric<uint8_t>;
    case arrow::Type::UINT16: return &kNumeric<uint16_t>;
    case arrow::Type::UINT32: return &kNumeric<uint32_t>;
    case arrow::Type::UINT64: return &kNumeric<uint64_t>;
    case arrow::Type::DECIMAL128: return &kNumeric<Int128>;
    case arrow::Type::DECIMAL256: return &kNumeric<Wide>;
    default: return nullptr;
  }
}

const ColumnCodec* numeric_text_codec(const arrow::DataType& from) {
  if (from.id() == arrow::Type::STRING) return &kNumericText<int32_t>;
  return from.id() == arrow::Type::LARGE_STRING ? &kNumericText<int64_t> : nullptr;
}

}  // namespace snowmelt
