#include "snowmelt/extract/number_text.h"

#include <algorithm>

namespace snowmelt {
namespace {

constexpr int kPlainExponentMin = -7;
constexpr int kPlainExponentMax = 37;

std::string digits_of(uint128_t magnitude) {
  std::string digits;
  do {
    digits += static_cast<char>('0' + static_cast<int>(magnitude % 10));
    magnitude /= 10;
  } while (magnitude != 0);
  std::reverse(digits.begin(), digits.end());
  return digits;
}

// -value does not exist for the smallest one; as unsigned it does.
uint128_t magnitude_of(int128_t value) { return value < 0 ? -static_cast<uint128_t>(value) : static_cast<uint128_t>(value); }

}  // namespace

std::string decimal_text(int128_t value, int scale) {
  std::string digits = digits_of(magnitude_of(value));
  if (scale > 0) {
    const auto places = static_cast<size_t>(scale);
    if (digits.size() <= places) digits.insert(0, places + 1 - digits.size(), '0');
    digits.insert(digits.size() - places, 1, '.');
  }
  if (value < 0) digits.insert(0, 1, '-');
  return digits;
}

std::string decfloat_text(int128_t significand, int exponent) {
  if (significand == 0) return "0";
  std::string digits = digits_of(magnitude_of(significand));
  while (digits.size() > 1 && digits.back() == '0') {
    digits.pop_back();
    ++exponent;
  }
  const int first = exponent + static_cast<int>(digits.size()) - 1;  // the power of ten of the first digit
  if (first < kPlainExponentMin || first > kPlainExponentMax) {
    if (digits.size() > 1) digits.insert(1, 1, '.');
    digits += 'e';
    digits += std::to_string(first);
  } else if (exponent >= 0) {
    digits.append(static_cast<size_t>(exponent), '0');
  } else {
    if (first < 0) digits.insert(0, static_cast<size_t>(-first), '0');
    digits.insert(static_cast<size_t>(std::max(first, 0)) + 1, 1, '.');
  }
  if (significand < 0) digits.insert(0, 1, '-');
  return digits;
}

std::optional<int128_t> parse_decimal(std::string_view text, int scale) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const int128_t limit = power_of_ten(37);  // below it another digit fits: 38 digits are Snowflake's most
  int128_t value = 0;
  int places = -1;  // digits after the point; -1 before it
  bool any = false;
  for (const char c : text) {
    if (c == '.' && places < 0) {
      places = 0;
      continue;
    }
    if (c < '0' || c > '9') return std::nullopt;
    any = true;
    if (places >= scale) {
      if (c != '0') return std::nullopt;
      continue;
    }
    if (value >= limit) return std::nullopt;
    value = value * 10 + (c - '0');
    if (places >= 0) ++places;
  }
  if (!any) return std::nullopt;
  for (int i = std::max(places, 0); i < scale; ++i) {
    if (value >= limit) return std::nullopt;
    value *= 10;
  }
  return negative ? -value : value;
}

int128_t int128_from_big_endian(std::string_view bytes) {
  uint128_t value = !bytes.empty() && static_cast<signed char>(bytes[0]) < 0 ? ~uint128_t{0} : uint128_t{0};
  for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return static_cast<int128_t>(value);
}

}  // namespace snowmelt
