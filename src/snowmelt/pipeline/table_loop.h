// What export, import and run share: a report a table, errors kept apart, the observer told.
#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
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

// After these no other table can succeed, and trying could lock an account.
bool ends_the_run(const ReportError& error);

// A report whose tables are all still "skipped".
RunReport empty_report(const std::vector<TableConfig>& tables, bool with_targets);

// One table: started, done, failed, told.
void run_one_table(TableReport& report, size_t index, const TableConfig& table, const RunOptions& options,
                   const std::function<TableReport(const TableConfig&, TableProgress&)>& body);

// The tables in order, `jobs` of them at a time. `connect` is the first contact; when it fails every table is skipped.
RunReport for_each_table(const std::vector<TableConfig>& tables, const RunOptions& options, int jobs,
                         const std::function<void()>& connect,
                         const std::function<TableReport(const TableConfig&, TableProgress&)>& body);

}  // namespace snowmelt
