// Names without regard to case.
#pragma once

#include <algorithm>
#include <string>

namespace snowmelt {

// ASCII letters only: whatever the locale, and other letters are exact.
inline std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : static_cast<char>(c);
  });
  return text;
}

}  // namespace snowmelt
