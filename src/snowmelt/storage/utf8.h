// Whether texts that lie side by side are UTF-8, in one scan for all of them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace snowmelt {

bool is_utf8(const uint8_t* text, int64_t bytes);

// The texts text[offsets[i]] to text[offsets[i + 1]], i < count. Halves of a character would pass the scan together, so none may
// begin inside one.
template <typename Offset>
bool are_utf8(const uint8_t* text, const Offset* offsets, int64_t count) {
  if (count == 0) return true;
  const Offset end = offsets[count];
  if (!is_utf8(text + offsets[0], end - offsets[0])) return false;
  uint8_t inside = 0;
  for (int64_t i = 1; i < count; ++i) {
    if (offsets[i] < end) inside |= static_cast<uint8_t>((text[offsets[i]] & 0xC0) == 0x80);
  }
  return inside == 0;
}

}  // namespace snowmelt
