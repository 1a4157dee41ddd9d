#include "snowmelt/printable.h"

#include <fmt/format.h>

#include <cstdint>

namespace snowmelt {
namespace {

// The length of the UTF-8 sequence at the beginning of `text`, and its code point; 0 when there is none.
size_t decode(std::string_view text, uint32_t& point) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const size_t size = byte(0) < 0x80 ? 1 : byte(0) >= 0xC2 && byte(0) < 0xE0 ? 2 : byte(0) >= 0xE0 && byte(0) < 0xF0 ? 3 : 4;
  if (size > text.size() || byte(0) > 0xF4 || (byte(0) >= 0x80 && byte(0) < 0xC2)) return 0;
  point = size == 1 ? byte(0) : byte(0) & (0x7FU >> size);
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    point = point << 6 | (byte(i) & 0x3F);
  }
  return size;
}

bool is_hidden(uint32_t point) {
  return point < 0x20 || (point >= 0x7F && point < 0xA0) || point == 0x200E || point == 0x200F || point == 0x061C ||
         (point >= 0x2028 && point <= 0x202E) || (point >= 0x2066 && point <= 0x2069);
}

}  // namespace

std::string printable(std::string_view text, std::string_view indent) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    uint32_t point = 0;
    const size_t size = decode(text.substr(at), point);
    if (size == 0) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[at++]));
      continue;
    }
    if (point == '\n') {
      out += '\n';
      out += indent;
    } else if (point == '\t' || !is_hidden(point)) {
      out += text.substr(at, size);
    } else {
      out += point < 0x100 ? fmt::format("\\x{:02x}", point) : fmt::format("\\u{:04x}", point);
    }
    at += size;
  }
  return out;
}

}  // namespace snowmelt
