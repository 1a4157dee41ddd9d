#include "snowmelt/cli/summary.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace snowmelt {
namespace {

// Long names lose their middle: both ends tell tables apart.
std::string shorten(const std::string& text, size_t width) {
  if (text.size() <= width) return text;
  const size_t head = (width - 1) / 2;
  return text.substr(0, head) + "~" + text.substr(text.size() - (width - 1 - head));
}

// "A, B, C and 9 more".
std::string names_of(const std::vector<const TableReport*>& tables) {
  constexpr size_t kNamedMost = 3;
  std::vector<std::string> names;
  for (size_t i = 0; i < std::min(tables.size(), kNamedMost); ++i) names.push_back(tables[i]->source);
  const std::string more = tables.size() > kNamedMost ? fmt::format(" and {} more", tables.size() - kNamedMost) : "";
  return fmt::format("{}{}", fmt::join(names, ", "), more);
}

// What equal failures have in common. Where no server could be reached the texts tell of addresses and attempts.
std::string likeness(const RunReport& report, const ReportError& error) {
  const bool one_cause = report.is_unreachable() && error.kind == report.error->kind;
  return one_cause ? error.kind : error.code + "\n" + error.sentence + "\n" + error.hint;
}

}  // namespace

std::vector<std::string> error_texts(const RunReport& report) {
  std::vector<std::string> texts;
  std::vector<std::pair<std::string, std::vector<const TableReport*>>> groups;
  for (const TableReport& table : report.tables) {
    if (!table.error) continue;
    const std::string key = likeness(report, *table.error);
    auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& known) { return known.first == key; });
    if (group == groups.end()) group = groups.insert(groups.end(), {key, {}});
    group->second.push_back(&table);
  }
  // The last one of several: by then it is plain that the server is gone.
  const bool unreachable = report.is_unreachable();
  if (report.error && !unreachable) texts.push_back(report.error->message);
  for (const auto& [key, tables] : groups) {
    const ReportError& error = *tables.back()->error;
    std::string text;
    if (tables.size() == 1) {
      text = tables[0]->source + ": " + error.message;
    } else {
      text = fmt::format("{} tables ({}): {}\n  {}", tables.size(), names_of(tables), error.code, error.sentence);
      if (!error.hint.empty()) text += "\n  hint: " + error.hint;
    }
    if (unreachable && error.kind == report.error->kind) text += "\n  " + report.error->sentence;
    texts.push_back(std::move(text));
  }
  return texts;
}

std::string with_commas(int64_t number) {
  std::string digits = std::to_string(number);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > (number < 0 ? 1 : 0); at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

std::string megabytes(int64_t bytes) { return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6); }

std::string summary_text(const RunReport& report, int width, bool with_logins) {
  constexpr size_t kNames = 2;  // the first two are names, left-aligned; status is the last
  constexpr size_t kGap = 2, kNameWidthMin = 12;
  using Line = std::vector<std::string>;
  std::vector<Line> lines{{"source", "target", "rows", "parquet", "parts", "seconds", "status"}};
  int64_t rows = 0;
  int64_t bytes = 0;
  for (const TableReport& table : report.tables) {
    rows += table.rows;
    bytes += table.bytes;
    lines.push_back({table.source, table.target, with_commas(table.rows), megabytes(table.bytes), std::to_string(table.parts),
                     fmt::format("{:.1f}", table.seconds), std::string(to_string(table.status))});
  }
  std::vector<size_t> widths(lines[0].size());
  for (const Line& line : lines) {
    for (size_t c = 0; c < line.size(); ++c) widths[c] = std::max(widths[c], line[c].size());
  }
  const auto total = [&] { return std::accumulate(widths.begin(), widths.end(), kGap * (widths.size() - 1)); };
  // What does not fit is taken from the longer name first; numbers are never cut. A terminal too narrow even so loses whole
  // columns, from "parts" on: source, rows and status stay.
  while (total() > static_cast<size_t>(width) && std::max(widths[0], widths[1]) > kNameWidthMin) {
    --widths[widths[0] >= widths[1] ? 0 : 1];
  }
  for (const size_t column : {4, 3, 3, 1}) {  // parts, parquet, seconds, target
    if (total() <= static_cast<size_t>(width)) break;
    widths.erase(widths.begin() + static_cast<std::ptrdiff_t>(column));
    for (Line& line : lines) line.erase(line.begin() + static_cast<std::ptrdiff_t>(column));
  }
  const size_t names = lines[0][1] == "target" ? kNames : 1;
  std::string text;
  for (const Line& line : lines) {
    for (size_t c = 0; c + 1 < line.size(); ++c) {
      if (c < names)
        text += fmt::format("{:<{}}  ", shorten(line[c], widths[c]), widths[c]);
      else
        text += fmt::format("{:>{}}  ", line[c], widths[c]);
    }
    text += line.back() + "\n";
  }
  text +=
      fmt::format("{} {}, {} rows, {} in {:.1f} s: {}\n", report.tables.size(), report.tables.size() == 1 ? "table" : "tables",
                  with_commas(rows), megabytes(bytes), report.seconds, to_string(report.status));
  if (with_logins) text += fmt::format("logins: {}\n", report.logins);
  return text;
}

}  // namespace snowmelt
