#include "snowmelt/cli/progress_display.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "snowmelt/cli/summary.h"

namespace snowmelt {
namespace {

constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr auto kPlainInterval = std::chrono::seconds(10);

std::string duration_text(double seconds) {
  const auto whole = static_cast<int64_t>(seconds);
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

// What a line tells of a table.
struct Figures {
  double done;    // rows; a run counts half a row when it is in Parquet, the other half when it is loaded
  int64_t total;  // -1: not known yet
  int64_t bytes;  // Parquet written; an import's COPY bytes
  double rate;    // rows a second
  double seconds;
};

Figures figures_of(const TableProgress& progress, ProgressDisplay::Work work, std::chrono::steady_clock::time_point started) {
  using Work = ProgressDisplay::Work;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  const auto exported = static_cast<double>(progress.rows_exported);
  const auto loaded = static_cast<double>(progress.rows_loaded);
  const double done = work == Work::export_ ? exported : work == Work::import_ ? loaded : (exported + loaded) / 2;
  const int64_t bytes = work == Work::import_ ? progress.bytes_loaded : progress.bytes_exported;
  return {done, progress.rows_total, bytes, seconds > 0 ? done / seconds : 0, seconds};
}

int terminal_width(int otherwise) {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : otherwise;
}

}  // namespace

ProgressDisplay::Style ProgressDisplay::detect_style() {
  Style style;
  const char* term = std::getenv("TERM");
  style.terminal = ::isatty(STDERR_FILENO) == 1 && term != nullptr && std::string_view(term) != "dumb";
  const char* no_color = std::getenv("NO_COLOR");
  style.color = style.terminal && (no_color == nullptr || *no_color == '\0');
  style.width = terminal_width(style.width);
  return style;
}

ProgressDisplay::ProgressDisplay(Style style, Work work, const std::stop_token& run_stop)
    : style_(style), work_(work), stderr_(STDERR_FILENO, run_stop) {
  thread_ = std::jthread([this](const std::stop_token& stop) { loop(stop); });
}

ProgressDisplay::~ProgressDisplay() {
  thread_.request_stop();
  thread_.join();
  std::lock_guard lock(mutex_);
  erase();
}

void ProgressDisplay::table_started(size_t index, const TableConfig& table,
                                    const std::shared_ptr<const TableProgress>& progress) {
  std::lock_guard lock(mutex_);
  active_[index] = {table.name, progress, std::chrono::steady_clock::now()};
}

void ProgressDisplay::table_finished(size_t index, const TableReport& report) {
  std::lock_guard lock(mutex_);
  active_.erase(index);
  erase();
  const bool ok = report.status == RunStatus::ok;
  const std::string mark =
      ok ? painted("32", "done") : painted(report.is_done() ? "33" : "31", std::string(to_string(report.status)));
  const std::string arrow = report.target.empty() ? "" : " -> " + report.target;
  std::string line = fmt::format("{} {}{}", mark, report.source, arrow);
  if (ok) line += fmt::format("  {} rows  {:.1f} s", with_commas(report.rows), report.seconds);
  if (!report.reason.empty()) line += ": " + report.reason;
  stderr_.write(line + "\n");
  draw();
}

void ProgressDisplay::print_line(const std::string& line) {
  std::lock_guard lock(mutex_);
  erase();
  stderr_.write(line + "\n");
  draw();
}

void ProgressDisplay::loop(const std::stop_token& stop) {
  auto next_plain = std::chrono::steady_clock::now() + kPlainInterval;
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    tick_.wait_for(lock, stop, kRedraw, [] { return false; });
    if (!stderr_.ready()) continue;  // a terminal that was halted with Ctrl-S, a pipe that nobody reads
    if (style_.terminal) {
      erase();
      draw();
    } else if (std::chrono::steady_clock::now() >= next_plain) {
      for (const auto& [index, table] : active_) stderr_.write(plain_line(table) + "\n");
      next_plain += kPlainInterval;
    }
  }
}

void ProgressDisplay::erase() {
  if (drawn_lines_ == 0) return;
  stderr_.write(fmt::format("\r\x1b[{}A\x1b[J", drawn_lines_));  // \r: the terminal may have echoed ^C
  drawn_lines_ = 0;
}

void ProgressDisplay::draw() {
  if (!style_.terminal || active_.empty()) return;
  style_.width = terminal_width(style_.width);  // people resize windows
  std::string text;
  for (const auto& [index, table] : active_) text += bar_line(table) + "\n";
  stderr_.write(text);
  drawn_lines_ = active_.size();
}

// "3,712,000 rows"; of a run "3,712,000 read, 2,900,000 loaded".
std::string ProgressDisplay::rows_text(const TableProgress& progress) const {
  const int64_t exported = progress.rows_exported;
  const int64_t loaded = progress.rows_loaded;
  if (work_ == Work::both) return fmt::format("{} read, {} loaded", with_commas(exported), with_commas(loaded));
  return with_commas(work_ == Work::export_ ? exported : loaded) + " rows";
}

// "TPCH.PUBLIC.LINEITEM  [#########.......]  62%  3,712,000 rows  0:03 left  812,000/s  98.1 MB", the right end dropped
// first on a narrow terminal. One column stays free: a full line would wrap and break the redraw.
std::string ProgressDisplay::bar_line(const Active& table) const {
  const Figures now = figures_of(*table.progress, work_, table.started);
  const size_t width = static_cast<size_t>(std::max(20, style_.width)) - 1;
  const size_t name_width = std::min<size_t>(table.name.size(), std::max<size_t>(12, width / 4));
  std::string name = table.name.size() > name_width ? "~" + table.name.substr(table.name.size() - name_width + 1) : table.name;
  std::vector<std::string> fields;
  if (const std::string waiting = table.progress->waiting.get(); !waiting.empty()) {
    const std::string line = fmt::format("{}  {}  {}", name, duration_text(now.seconds), waiting);
    return line.substr(0, width);
  }
  if (now.total > 0) {
    const double share = std::min(1.0, now.done / static_cast<double>(now.total));
    const size_t cells = std::clamp<size_t>(width / 10, 6, 30);
    const auto filled = static_cast<size_t>(share * static_cast<double>(cells));
    // 100 % only when all is done: what is left may take its time.
    fields.push_back(
        fmt::format("[{}{}] {:>3}%", std::string(filled, '#'), std::string(cells - filled, '.'), static_cast<int>(share * 100)));
  } else {
    fields.push_back(now.total == 0 ? "no rows" : "waiting for Snowflake");
  }
  fields.push_back(rows_text(*table.progress));
  if (now.total > 0 && now.rate > 0) {
    fields.push_back(duration_text((static_cast<double>(now.total) - now.done) / now.rate) + " left");
  }
  fields.push_back(with_commas(static_cast<int64_t>(now.rate)) + "/s");
  fields.push_back(megabytes(now.bytes));
  std::string line = name;
  for (const std::string& field : fields) {
    if (line.size() + 2 + field.size() > width) break;
    line += "  " + field;
  }
  return line;
}

std::string ProgressDisplay::plain_line(const Active& table) const {
  const Figures now = figures_of(*table.progress, work_, table.started);
  if (const std::string waiting = table.progress->waiting.get(); !waiting.empty())
    return fmt::format("{}: {}, {}", table.name, waiting, duration_text(now.seconds));
  const std::string of_total = now.total >= 0 ? " of " + with_commas(now.total) : "";
  return fmt::format("{}: {}{}, {}, {} rows/s, {}", table.name, rows_text(*table.progress), of_total, megabytes(now.bytes),
                     with_commas(static_cast<int64_t>(now.rate)), duration_text(now.seconds));
}

std::string ProgressDisplay::painted(const char* sgr, const std::string& text) const {
  return style_.color ? fmt::format("\x1b[{}m{}\x1b[0m", sgr, text) : text;
}

}  // namespace snowmelt
