// Lengths of time as people write them.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace snowmelt {

// What PostgreSQL's own settings take: 2^31 - 1 milliseconds, 596 hours.
inline constexpr std::chrono::milliseconds kLongestDuration{2'147'483'647};

// "500ms", "90s", "10m", "1h", or "30": seconds. Null for all else, and for more than kLongestDuration.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) noexcept;

// In the largest unit that says it exactly: "10m", "90s", "0s". What parse_duration takes again.
std::string duration_text(std::chrono::milliseconds duration);

// For the hint beside a refusal.
inline constexpr std::string_view kDurationForms = R"(write "500ms", "90s", "10m", "1h" or a number of seconds; at most 596h)";

}  // namespace snowmelt
