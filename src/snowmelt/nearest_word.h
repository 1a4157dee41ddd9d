// "Did you mean …": the known word that is closest to a mistyped one.
#pragma once

#include <span>
#include <string_view>

namespace snowmelt {

// By insertions, deletions and substitutions; the first of equals. Empty without any known word.
std::string_view nearest_word(std::string_view word, std::span<const std::string_view> known);

}  // namespace snowmelt
