// PostgreSQL's names have a bound in bytes; the server cuts a longer one without an error.
#pragma once

#include <cstddef>
#include <string>

namespace snowmelt {

inline constexpr size_t kPostgresNameBytesMax = 63;

// At most so many bytes of it, cut at a character's border.
inline std::string cut_at_character(std::string name, size_t bytes) {
  if (name.size() <= bytes) return name;
  while (bytes > 0 && (static_cast<unsigned char>(name[bytes]) & 0xC0) == 0x80) --bytes;
  name.resize(bytes);
  return name;
}

}  // namespace snowmelt
