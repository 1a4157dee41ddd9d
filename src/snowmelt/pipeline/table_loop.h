// What export, import and run share: a report a table, errors kept apart, the observer told.
#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "snowmelt/foreign_error.h"
#include "snowmelt/pipeline/export_data.h"

namespace snowmelt {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Runs `body` and turns what it throws into a snowmelt error handed to `failed`.
template <typename Body, typename Failed>
void catching(Body&& body, Failed&& failed) {
  try {
    try {
      body();
    } catch (...) {
      rethrow_as_error();
    }
  } catch (const Error& error) {
    failed(error);
  }
}

// When a run ends before its last table. A refused login or a stop request ends it at once: no other table can succeed, and
// trying could lock an account. So do three tables that could not reach a server, with no success between them. Any thread.
class EndOfRun {
 public:
  void table_ended(const std::optional<ReportError>& error);  // nullopt: a success
  bool reached() const;
  // What the report says of the tables that were not tried; nullopt where it was not for want of a server.
  std::optional<ReportError> unreachable(const std::vector<TableReport>& tables) const;

 private:
  mutable std::mutex mutex_;
  int unreachable_in_a_row_ = 0;
  bool hopeless_ = false;
};

// A report whose tables are all still "skipped".
RunReport empty_report(const std::vector<TableConfig>& tables, bool with_targets);

// Does one table. The progress may be kept for as long as somebody reads it.
using TableBody = std::function<TableReport(const TableConfig& table, const std::shared_ptr<TableProgress>& progress)>;

// One table: started, done, failed, told.
void run_one_table(TableReport& report, size_t index, const TableConfig& table, const RunOptions& options, const TableBody& body);

// The tables in order, `jobs` of them at a time. `connect` is the first contact; when it fails every table is skipped.
RunReport for_each_table(const std::vector<TableConfig>& tables, const RunOptions& options, int jobs,
                         const std::function<void()>& connect, const TableBody& body);

}  // namespace snowmelt
