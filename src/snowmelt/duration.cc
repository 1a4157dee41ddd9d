#include "snowmelt/duration.h"

#include <charconv>
#include <cstdint>
#include <utility>

namespace snowmelt {
namespace {

// The longest first: duration_text takes the first that divides.
constexpr std::pair<std::string_view, int64_t> kUnits[] = {{"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}};

}  // namespace

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) noexcept {
  uint32_t number = 0;  // from_chars takes no sign for an unsigned number
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return std::nullopt;
  std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  if (unit.empty()) unit = "s";
  for (const auto& [name, milliseconds] : kUnits) {
    if (unit != name) continue;
    const std::chrono::milliseconds duration{number * milliseconds};
    if (duration > kLongestDuration) return std::nullopt;
    return duration;
  }
  return std::nullopt;
}

std::string duration_text(std::chrono::milliseconds duration) {
  if (duration.count() == 0) return "0s";
  for (const auto& [name, milliseconds] : kUnits) {
    if (duration.count() % milliseconds == 0) return std::to_string(duration.count() / milliseconds).append(name);
  }
  return {};  // not reached: everything divides by 1
}

}  // namespace snowmelt
