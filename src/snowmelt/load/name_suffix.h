// Names beside a target's that no other load uses.
#pragma once

#include <fmt/format.h>

#include <random>
#include <string>

namespace snowmelt {

// "_snowmelt_1f3a9c2e".
inline std::string random_suffix() {
  std::random_device random;
  return fmt::format("_snowmelt_{:08x}", random());
}

// At most PostgreSQL's 63 bytes: the name is cut on a character's border, so that the suffix fits.
inline std::string with_suffix(std::string name, const std::string& suffix) {
  constexpr size_t kNameBytesMax = 63;
  if (name.size() + suffix.size() > kNameBytesMax) {
    size_t keep = kNameBytesMax - suffix.size();
    while (keep > 0 && (static_cast<unsigned char>(name[keep]) & 0xC0) == 0x80) --keep;
    name.resize(keep);
  }
  return name + suffix;
}

}  // namespace snowmelt
