#include "snowmelt/pipeline/table_loop.h"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>

#include "snowmelt/log.h"

namespace snowmelt {

bool ends_the_run(const ReportError& error) {
  return error.exit_code == static_cast<int>(ErrorKind::authentication) ||
         error.exit_code == static_cast<int>(ErrorKind::interrupted);
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
                   const std::function<TableReport(const TableConfig&, TableProgress&)>& body) {
  const Stopwatch watch;
  TableProgress progress;
  if (options.observer != nullptr) options.observer->table_started(index, table, progress);
  catching([&] { report = body(table, progress); }, [&](const Error& error) { report.fail(error); });
  report.seconds = watch.seconds();
  if (options.observer != nullptr) options.observer->table_finished(index, report);
}

RunReport for_each_table(const std::vector<TableConfig>& tables, const RunOptions& options, int jobs,
                         const std::function<void()>& connect,
                         const std::function<TableReport(const TableConfig&, TableProgress&)>& body) {
  const Stopwatch watch;
  RunReport report = empty_report(tables, true);
  catching(connect, [&](const Error& error) { report.error = ReportError::from(error); });
  std::atomic<size_t> next{report.error ? tables.size() : 0};
  const auto work = [&] {
    for (size_t i = next++; i < tables.size(); i = next++) {
      run_one_table(report.tables[i], i, tables[i], options, body);
      if (report.tables[i].error && ends_the_run(*report.tables[i].error)) next = tables.size();
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
  report.seconds = watch.seconds();
  report.conclude();
  return report;
}

}  // namespace snowmelt
