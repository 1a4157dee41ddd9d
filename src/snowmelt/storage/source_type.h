// What a column is in its source, in words of ours: "NUMBER(12,2)", "TIMESTAMP_NTZ(9)", "VECTOR(FLOAT,3)", "TEXT". Files and
// servers say it, so it is parsed where it comes in: behind that there are only these words and numbers within their bounds.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace snowmelt {

enum class SourceWord : uint8_t {
  none,  // nothing is known, as of most columns of another writer's file
  number,
  float_,
  decfloat,
  text,
  boolean,
  binary,
  date,
  time,
  timestamp_ntz,
  timestamp_ltz,
  timestamp_tz,
  variant,
  object,
  array,
  map,
  geography,
  geometry,
  vector,
  uuid,
  interval_year_month,
  interval_day_time,
  enum_,     // Parquet's ENUM
  interval,  // Parquet's INTERVAL
};

// In the order of SourceWord.
inline constexpr std::array<std::string_view, 24> kSourceWords{"",
                                                               "NUMBER",
                                                               "FLOAT",
                                                               "DECFLOAT",
                                                               "TEXT",
                                                               "BOOLEAN",
                                                               "BINARY",
                                                               "DATE",
                                                               "TIME",
                                                               "TIMESTAMP_NTZ",
                                                               "TIMESTAMP_LTZ",
                                                               "TIMESTAMP_TZ",
                                                               "VARIANT",
                                                               "OBJECT",
                                                               "ARRAY",
                                                               "MAP",
                                                               "GEOGRAPHY",
                                                               "GEOMETRY",
                                                               "VECTOR",
                                                               "UUID",
                                                               "INTERVAL_YEAR_MONTH",
                                                               "INTERVAL_DAY_TIME",
                                                               "ENUM",
                                                               "INTERVAL"};

class SourceType {
 public:
  static constexpr int kPrecisionMax = 38;
  static constexpr int kFractionDigitsMax = 9;
  static constexpr int kDimensionMax = 16'000;  // pgvector's; Snowflake's is 4,096

  constexpr SourceType() = default;
  // A text of the program's own: what parse() refuses does not compile.
  consteval SourceType(const char* text) : SourceType(parse(text).value()) {}

  // Exactly what text() gives, or null: no blanks, no leading zeros, no other word, no number out of bounds.
  static constexpr std::optional<SourceType> parse(std::string_view text);

  // A word that stands alone, VECTOR too. These throw BugError for what parse() would refuse.
  static SourceType of(SourceWord word);
  static SourceType number(int precision, int scale);
  static SourceType with_digits(SourceWord word, int digits);  // TIME and the TIMESTAMPs: digits below the second
  static SourceType vector(bool integers, int dimension);

  std::string text() const;
  constexpr SourceWord word() const { return word_; }
  constexpr bool is(SourceWord word) const { return word_ == word; }
  constexpr bool empty() const { return word_ == SourceWord::none; }
  constexpr int precision() const { return first_; }  // of NUMBER
  constexpr int scale() const { return second_; }
  constexpr int dimension() const { return first_; }  // of VECTOR; 0: not said
  bool operator==(const SourceType&) const = default;

 private:
  enum class Element : uint8_t { none, integer, floating };

  // 0 to 99,999 in its one form.
  static constexpr std::optional<int> parse_number(std::string_view text) {
    if (text.empty() || text.size() > 5 || (text[0] == '0' && text.size() > 1)) return std::nullopt;
    int number = 0;
    for (const char c : text) {
      if (c < '0' || c > '9') return std::nullopt;
      number = number * 10 + (c - '0');
    }
    return number;
  }
  constexpr bool set_number(std::string_view first, std::string_view second) {
    const auto precision = parse_number(first);
    const auto scale = parse_number(second);
    if (!precision || !scale || *precision < 1 || *precision > kPrecisionMax || *scale > *precision) return false;
    first_ = static_cast<int16_t>(*precision);
    second_ = static_cast<int16_t>(*scale);
    return true;
  }
  constexpr bool set_digits(std::string_view text) {
    const auto digits = parse_number(text);
    if (!digits || *digits > kFractionDigitsMax) return false;
    first_ = static_cast<int16_t>(*digits);
    return true;
  }
  constexpr bool set_vector(std::string_view element, std::string_view text) {
    const auto dimension = parse_number(text);
    if ((element != "INT" && element != "FLOAT") || !dimension || *dimension < 1 || *dimension > kDimensionMax) return false;
    element_ = element == "INT" ? Element::integer : Element::floating;
    first_ = static_cast<int16_t>(*dimension);
    return true;
  }

  SourceWord word_ = SourceWord::none;
  Element element_ = Element::none;  // of VECTOR
  int16_t first_ = 0;                // precision, digits or dimension
  int16_t second_ = 0;               // scale
};

constexpr std::optional<SourceType> SourceType::parse(std::string_view text) {
  SourceType type;
  const size_t open = text.find('(');
  const std::string_view word = text.substr(0, open);
  size_t index = 0;
  while (index < kSourceWords.size() && kSourceWords[index] != word) ++index;
  if (index == kSourceWords.size()) return std::nullopt;
  type.word_ = static_cast<SourceWord>(index);

  std::string_view inside;
  if (open != std::string_view::npos) {
    if (text.back() != ')') return std::nullopt;
    inside = text.substr(open + 1, text.size() - open - 2);
  }
  const size_t comma = inside.find(',');
  const std::string_view first = inside.substr(0, comma);
  const std::string_view second = comma == std::string_view::npos ? std::string_view() : inside.substr(comma + 1);
  switch (type.word_) {
    case SourceWord::number: return type.set_number(first, second) ? std::optional(type) : std::nullopt;
    case SourceWord::time:
    case SourceWord::timestamp_ntz:
    case SourceWord::timestamp_ltz:
    case SourceWord::timestamp_tz: return type.set_digits(inside) ? std::optional(type) : std::nullopt;
    case SourceWord::vector:
      if (open == std::string_view::npos) return type;
      return type.set_vector(first, second) ? std::optional(type) : std::nullopt;
    default: return open == std::string_view::npos ? std::optional(type) : std::nullopt;
  }
}

// "column A has the source type "…", which snowmelt does not write": for whoever reads a file.
std::string unknown_source_type(std::string_view column, std::string_view text);

}  // namespace snowmelt
