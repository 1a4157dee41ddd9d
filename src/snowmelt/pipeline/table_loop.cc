#include "snowmelt/pipeline/table_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>

#include "snowmelt/log.h"

namespace snowmelt {

namespace {

constexpr int kUnreachableMax = 3;  // tables in a row: one may have had bad luck

bool is(const ReportError& error, ErrorKind kind) { return error.exit_code == static_cast<int>(kind); }

}  // namespace

void EndOfRun::table_ended(const std::optional<ReportError>& error) {
  const std::lock_guard lock(mutex_);
  if (!error) {
    unreachable_in_a_row_ = 0;
  } else if (is(*error, ErrorKind::authentication) || is(*error, ErrorKind::interrupted)) {
    hopeless_ = true;
  } else if (is(*error, ErrorKind::connection)) {
    ++unreachable_in_a_row_;
  }
}

bool EndOfRun::reached() const {
  const std::lock_guard lock(mutex_);
  return hopeless_ || unreachable_in_a_row_ >= kUnreachableMax;
}

std::optional<ReportError> EndOfRun::unreachable(const std::vector<TableReport>& tables) const {
  const std::lock_guard lock(mutex_);
  const auto not_tried = std::count_if(tables.begin(), tables.end(), [](const TableReport& table) {
    return table.status == RunStatus::skipped && table.reason.empty();
  });
  if (hopeless_ || unreachable_in_a_row_ < kUnreachableMax || not_tried == 0) return std::nullopt;
  return ReportError::from(ConnectionError(kUnreachable,
                                           fmt::format("{} tables in a row could not reach a server: {} more {} not tried",
                                                       unreachable_in_a_row_, not_tried, not_tried == 1 ? "was" : "were"),
                                           {.hint = "run again when the server can be reached"}));
}

RunReport empty_report(const std::vector<TableConfig>& tables, bool with_targets) {
  RunReport report;
  report.run_id = new_run_id();
  for (const TableConfig& table : tables) {
    report.tables.push_back({.source = table.name, .target = with_targets ? table.target : std::string(), .error = std::nullopt});
  }
  return report;
}

void run_one_table(TableReport& report, size_t index, const TableConfig& table, const RunOptions& options,
                   const TableBody& body) {
  const Stopwatch watch;
  const auto progress = std::make_shared<TableProgress>();
  if (options.observer != nullptr) options.observer->table_started(index, table, progress);
  catching([&] { report = body(table, progress); }, [&](const Error& error) { report.fail(error, options.stop); });
  report.seconds = watch.seconds();
  if (options.observer != nullptr) options.observer->table_finished(index, report);
}

RunReport for_each_table(const std::vector<TableConfig>& tables, const RunOptions& options, int jobs,
                         const std::function<void()>& connect, const TableBody& body) {
  const Stopwatch watch;
  RunReport report = empty_report(tables, true);
  catching(connect, [&](const Error& error) { report.error = ReportError::from(error, options.stop); });
  std::atomic<size_t> next{report.error ? tables.size() : 0};
  EndOfRun end;
  const auto work = [&] {
    for (size_t i = next++; i < tables.size() && !end.reached(); i = next++) {
      run_one_table(report.tables[i], i, tables[i], options, body);
      end.table_ended(report.tables[i].error);
    }
  };
  {
    std::vector<std::jthread> others;
    try {
      for (int job = 1; job < std::min(jobs, static_cast<int>(tables.size())); ++job) others.emplace_back(work);
    } catch (const std::system_error& error) {  // fewer threads do the same work
      log(LogLevel::warning, "{} of {} jobs could be started: {}", others.size() + 1, jobs, error.what());
    }
    work();
  }
  if (!report.error) report.error = end.unreachable(report.tables);
  report.seconds = watch.seconds();
  report.conclude();
  return report;
}

}  // namespace snowmelt
