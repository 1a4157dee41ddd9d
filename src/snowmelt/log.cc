#include "snowmelt/log.h"

#include <cstdio>
#include <mutex>
#include <string>

#include "snowmelt/printable.h"

namespace snowmelt {
namespace {

void write_to_stderr(LogLevel level, std::string_view message) {
  if (level < LogLevel::warning) return;
  fmt::print(stderr, "{}: {}\n", level == LogLevel::warning ? "WARNING" : "ERROR", message);
}

std::mutex sink_mutex;
LogSink& sink() {
  static LogSink current = write_to_stderr;
  return current;
}

}  // namespace

void set_log_sink(LogSink replacement) {
  std::lock_guard lock(sink_mutex);
  sink() = replacement ? std::move(replacement) : LogSink(write_to_stderr);
}

void log_message(LogLevel level, std::string_view message) {
  const std::string text = printable(message, "");
  std::lock_guard lock(sink_mutex);
  sink()(level, text);
}

}  // namespace snowmelt
