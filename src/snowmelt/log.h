// The library is silent by itself: it logs to the sink it was given. Only cli/ prints.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <string_view>
#include <utility>

namespace snowmelt {

enum class LogLevel { debug, info, warning, error };

using LogSink = std::function<void(LogLevel, std::string_view message)>;

// Replaces the sink for the whole process; the default one writes warnings and errors to stderr, one line each.
// The sink may be called from any thread, one call at a time.
void set_log_sink(LogSink sink);
void log_message(LogLevel level, std::string_view message);

template <typename... Args>
void log(LogLevel level, fmt::format_string<Args...> text, Args&&... args) {
  log_message(level, fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace snowmelt
