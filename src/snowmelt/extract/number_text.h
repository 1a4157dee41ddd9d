// Exact decimal text, both ways.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "snowmelt/extract/wire_arrays.h"

namespace snowmelt {

// value × 10^-scale: "-12.50" for (-1250, 2).
std::string decimal_text(int128_t value, int scale);

// significand × 10^exponent in one canonical form: no trailing zeros in the significand; plain digits while the first digit
// stands between 10^-7 and 10^37, else "d.ddde40". Two equal numbers have equal texts.
std::string decfloat_text(int128_t significand, int exponent);

// "-12.5" → -1250 for scale 2; nullopt for other text, for digits below the scale that are not zero, and past 128 bits.
std::optional<int128_t> parse_decimal(std::string_view text, int scale);

// Two's complement, most significant byte first, at most 16 bytes.
int128_t int128_from_big_endian(std::string_view bytes);

}  // namespace snowmelt
