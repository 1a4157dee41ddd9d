// Many tables out of Snowflake through one manager: one login.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>

#include "snowmelt/config.h"
#include "snowmelt/connections/base_connection.h"
#include "snowmelt/extract/work_budget.h"
#include "snowmelt/pipeline/run_report.h"
#include "snowmelt/progress.h"
#include "snowmelt/storage/encryption.h"

namespace snowmelt {

// Told what happens to which table; called from the run's own threads, one call at a time a table.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  virtual void table_started(size_t index, const TableConfig& table, const std::shared_ptr<const TableProgress>& progress) = 0;
  virtual void table_finished(size_t index, const TableReport& report) = 0;
};

struct RunOptions {
  ExportConfig export_;                  // directory, part size, threads
  std::optional<FilePassword> password;  // of the Parquet files (D9), never a login
  int jobs = 2;                          // tables exported at the same time; they share export_.threads
  int load_connections = 1;              // connections that fill one table; 0: by the cores. A caller's manager means one.
  RunObserver* observer = nullptr;
  std::stop_token stop;
  std::chrono::milliseconds wait{0};   // for another run in the export directory
  std::shared_ptr<WorkBudget> budget;  // shared by the tables; made from export_ where it is null
};

// One budget for all tables of a run, by its [export] settings.
std::shared_ptr<WorkBudget> make_budget(const ExportConfig& settings);

// Exports one table to <export_base_dir>/<source>/. Throws.
TableReport export_table(const TableConfig& table, const std::optional<FilePassword>& password,
                         const std::filesystem::path& export_base_dir, const std::shared_ptr<ConnectionManager>& conn_manager,
                         const RunOptions& options = {}, const std::shared_ptr<TableProgress>& progress = {});

// Exports every table; one failed table does not stop the others, a refused login does. Throws nothing of the tables.
RunReport export_data(const std::vector<TableConfig>& tables, const std::shared_ptr<ConnectionManager>& conn_manager,
                      const RunOptions& options);

}  // namespace snowmelt
